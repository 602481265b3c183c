// SPDX-License-Identifier: Apache-2.0
// Whole steps of the library (agreement, encode, decode, vote, commit) by method, in a world of one, against memcpy:
// what a codec costs a worker. Three methods are timed once more as their bare kernels, with nothing around them.
//   ./dev bench step [--json FILE]

#include "support/harness.hpp"

#include <gradpress/gradpress.hpp>

using namespace gradpress;
using namespace gradpress::bench;

namespace {
using exec_space = Kokkos::DefaultHostExecutionSpace;

shape shape_of(std::size_t n) {
  std::size_t const cols = n >= 25000000 ? 6256 : n >= 1000 ? 1000 : 1;
  return {n / cols, cols};
}

/// |left - right| against |right|, in l2.
template <class Left>
double distance(std::size_t n, Left const& left, float const* right) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < n; ++i) {
    auto const d = left(i) - static_cast<double>(right[i]);
    error += d * d, size += static_cast<double>(right[i]) * static_cast<double>(right[i]);
  }
  return std::sqrt(error / size);
}

/// `most` bounds the relative error of the first update; with a memory, of update plus memory.
template <class Method>
void add_case(harness& h, std::string const& name, array const& g, double most, Method const& method) {
  if (!h.wants(name)) return;
  auto const d = shape_of(h.n());
  self_communicator alone;
  reducer r{exec_space{}, alone};
  auto const w = r.add("w", d.rows, d.cols, method);
  array work(h.n());
  std::memcpy(work.data(), g.data(), h.n() * sizeof(float));
  h.add(
      name, 0, 0, [&] { r.average(w, work.data()); },
      [&] {
        buffer<exec_space> rest;
        r.visit(w, [&](char const* part, auto const& b) {
          if (std::string_view(part) == "residual") rest = b;
        });
        auto const whole = [&](std::size_t i) {
          return static_cast<double>(work[i]) + (rest.extent(0) > 0 ? static_cast<double>(rest(i)) : 0.);
        };
        return r.stats().steps == 1 && distance(d.size(), whole, g.data()) <= most;
      });
}

/// Matrices of a model, cut to n elements in proportion where they have more.
std::vector<shape> cut(std::vector<shape> all, std::size_t n) {
  std::size_t size = 0;
  for (auto const& d : all) size += d.size();
  for (auto& d : all)
    if (size > n) {
      auto& longer = d.rows > d.cols ? d.rows : d.cols;
      longer = std::max<std::size_t>(16, longer * n / size / 16 * 16);  // lines stay whole
    }
  return all;
}
std::vector<shape> resnet_50() {
  std::vector<shape> all = {{64, 147}};
  std::size_t in = 64;
  std::size_t const blocks[] = {3, 4, 6, 3};
  for (std::size_t stage = 0; stage < 4; ++stage)
    for (std::size_t b = 0; b < blocks[stage]; ++b) {
      auto const planes = std::size_t{64} << stage;
      all.push_back({planes, in}), all.push_back({planes, 9 * planes}), all.push_back({4 * planes, planes});
      if (b == 0) all.push_back({4 * planes, in});
      in = 4 * planes;
    }
  all.push_back({1000, 2048});
  return all;
}
/// Of GPT-2 small, 124.3 million elements.
std::vector<shape> gpt_2() {
  std::vector<shape> all = {{50257, 768}, {1024, 768}};
  for (int layer = 0; layer < 12; ++layer) all.insert(all.end(), {{768, 2304}, {768, 768}, {768, 3072}, {3072, 768}});
  return all;
}

/// Many tensors of a method, and their gradients end to end.
template <class Method>
class model {
  self_communicator alone_;
  reducer<exec_space> r_{exec_space{}, alone_};
  std::vector<shape> shapes_;
  std::vector<typename decltype(r_)::tensor> t_;
  array const& g_;
  array work_;

 public:
  model(std::vector<shape> const& shapes, array const& g, Method const& method)
      : shapes_(shapes), g_(g), work_(g.size()) {
    for (auto const& d : shapes) t_.push_back(r_.add(std::to_string(t_.size()), d.rows, d.cols, method));
    std::memcpy(work_.data(), g.data(), g.size() * sizeof(float));
  }
  void step() {
    std::size_t at = 0;
    for (std::size_t i = 0; i < t_.size(); at += shapes_[i++].size()) r_.stage(t_[i], work_.data() + at);
    r_.average();
  }
  /// After the first step: is what was handed in the update and the memory, to `most`?
  bool delivers(double most) {
    bool good = r_.stats().steps == 1;
    std::size_t at = 0;
    for (std::size_t i = 0; i < t_.size(); at += shapes_[i++].size()) {
      buffer<exec_space> rest;
      r_.visit(t_[i], [&](char const*, auto const& b) { rest = b; });
      auto const whole = [&](std::size_t k) {
        return static_cast<double>(work_[at + k]) + (rest.extent(0) > 0 ? static_cast<double>(rest(k)) : 0.);
      };
      good &= distance(shapes_[i].size(), whole, g_.data() + at) <= most;
    }
    return good;
  }
};

/// The same step for many matrices, in units of one memcpy of n elements, which are about as many as theirs.
template <class Method>
void many_case(harness& h, std::string const& name, std::vector<shape> const& shapes, array const& g, double floor,
               Method const& method) {
  if (!h.wants(name)) return;
  model many(cut(shapes, h.n()), g, method);
  h.add(
      name, floor, 0, [&] { many.step(); }, [&] { return many.delivers(1e-6); });
}
/// Many matrices beside one of as many elements.
template <class Method>
void many_against_one(harness& h, std::string const& name, std::vector<shape> const& shapes, array const& g,
                      double must, Method const& method) {
  if (!h.wants(name)) return;
  auto const own = cut(shapes, h.n());
  std::size_t n = 0;
  for (auto const& d : own) n += d.size();
  model many(own, g, method), one({shape_of(n)}, g, method);
  h.compare(
      name, must, [&] { many.step(); }, [&] { one.step(); }, [&] { return many.delivers(1e-6) && one.delivers(1e-6); });
}
/// What makes bases orthonormal beside the step that it belongs to.
template <class Method>
void orthonormalise_share(harness& h, std::string const& name, std::vector<shape> const& shapes, array const& g,
                          std::size_t r, Method const& method) {
  if (!h.wants(name)) return;
  auto const own = cut(shapes, h.n());
  model many(own, g, method);
  std::size_t rows = 0, most = 0;
  for (auto const& d : own) rows += d.rows, most = std::max(most, kernel::orthonormalise_workspace(d.rows, r));
  array P(rows * r);
  std::vector<std::byte> room(most);
  std::size_t found = 0, wanted = 0;
  auto const all = [&] {
    std::memcpy(P.data(), g.data(), rows * r * sizeof(float));
    std::size_t at = 0;
    found = wanted = 0;
    for (auto const& d : own) {
      found += static_cast<std::size_t>(kernel::orthonormalise(exec_space{}, P.data() + at, d.rows, r, room.data()));
      wanted += r, at += d.rows * r;
    }
  };
  h.compare(
      name, 0.03, all, [&] { many.step(); }, [&] { return found == wanted && many.delivers(1e-6); });
}
/// Writes the memory at once, where `low_rank` lets it owe.
struct prompt_low_rank : low_rank {
  template <class... Any>
  bool project_owed(Any&&...) const = delete;
};

/// What the library adds is the difference to the rows of the same name.
void bare_cases(harness& h, array const& g) {
  auto const d = shape_of(h.n());
  auto const n = d.size(), k = std::max<std::size_t>(1, n / 1000);
  exec_space const exec;
  array e(n), a(n), out(n);
  if (std::string const name = "top_k .1% + EF, bare kernels"; h.wants(name)) {
    std::vector<std::byte> work(kernel::top_k_workspace(n, k));
    std::vector<index_t> at(k);
    std::vector<float> values(k);
    h.add(
        name, 0, 0,
        [&] {
          kernel::top_k_sum(exec, g.data(), e.data(), a.data(), n, k, work.data(), at.data(), values.data());
          kernel::subtract_at(exec, a.data(), at.data(), values.data(), k);
          kernel::scatter_shared_mean(exec, at.data(), values.data(), k, 1.f, out.data(), n);
        },
        [&] {
          return distance(
                     n, [&](std::size_t i) { return static_cast<double>(a[i] + out[i]); }, g.data()) == 0;
        });
  }
  if (std::string const name = "sign + EF, bare kernels"; h.wants(name)) {
    auto const block = sign{}.block;
    std::vector<std::byte> codes(sign{}.code_bytes(n));
    h.add(
        name, 0, 0,
        [&] {
          kernel::sign_encode_sum(exec, g.data(), e.data(), a.data(), n, block, codes.data());
          kernel::sign_decode(exec, codes.data(), n, block, out.data());
          kernel::divide(exec, out.data(), n, 1.f);
        },
        [&] {
          return distance(
                     n, [&](std::size_t i) { return static_cast<double>(a[i] + out[i]); }, g.data()) < 1e-6;
        });
  }
  if (std::string const name = "PowerSGD r=4, bare kernels"; h.wants(name)) {
    std::size_t const r = std::min<std::size_t>(4, std::min(d.rows, d.cols));
    array Q(d.cols * r), P(d.rows * r);
    fill_gradient(Q, 3);
    std::vector<std::byte> work(kernel::low_rank_workspace(d.rows, d.cols, r)),
        room(kernel::orthonormalise_workspace(d.rows, r));
    h.add(
        name, 0, 0,
        [&] {
          kernel::multiply_sum(exec, g.data(), e.data(), a.data(), d.rows, d.cols, Q.data(), r, work.data(), P.data());
          kernel::orthonormalise(exec, P.data(), d.rows, r, room.data());
          kernel::multiply_transposed(exec, a.data(), d.rows, d.cols, P.data(), r, work.data(), Q.data());
          kernel::outer_and_subtract(exec, P.data(), Q.data(), Q.data(), d.rows, d.cols, r, work.data(), out.data(),
                                     a.data());
        },
        [&] {
          return distance(
                     n, [&](std::size_t i) { return static_cast<double>(a[i] + out[i]); }, g.data()) < 1e-6;
        });
  }
}
}  // namespace

int main(int argc, char** argv) {
  auto const o =
      parse(argc, argv, "bench step: compress, decode and commit by method, in a world of one, against memcpy");
  Kokkos::initialize();
  bool good = false;
  {
    harness h(o, "step", static_cast<int>(exec_space{}.concurrency()));
    array g(h.n());
    fill_gradient(g, 2);
    add_case(h, "dense", g, 0, compress_with());
    add_case(h, "bf16", g, 0.004, compress_with(bf16{}));
    add_case(h, "bf16 + EF, by scatter_reduce", g, 1e-6, compress_with(bf16{}, error_feedback{}));
    add_case(h, "top_k .1% + EF", g, 0, top_k_sgd(0.001));
    add_case(h, "top_k 1% + EF", g, 0, top_k_sgd(0.01));
    add_case(h, "top_k .1% + momentum_correction", g, 0, compress_with(top_k{.density = 0.001}, momentum_correction{}));
    add_case(h, "gtop_k .1% + EF", g, 0, gtop_k_sgd(0.001));
    add_case(h, "top_k 1% + int8 + EF", g, 1e-6,
             compress_with(top_k{.density = 0.01}, stochastic_int{}, error_feedback{}));
    add_case(h, "random_block 1/64 + EF", g, 0, compress_with(random_block{}, error_feedback{}));
    add_case(h, "random_k 1% + EF", g, 0, compress_with(random_k{}, error_feedback{}));
    add_case(h, "int8", g, 0.02, qsgd(8));
    add_case(h, "int4", g, 0.3, qsgd(4));
    add_case(h, "int4 + EF", g, 1e-6, compress_with(stochastic_int{.bits = 4}, error_feedback{}));
    add_case(h, "sign + EF", g, 1e-6, ef_sign_sgd());
    add_case(h, "ternary", g, 4, tern_grad());
    add_case(h, "PowerSGD r=4", g, 1e-6, power_sgd(4));
    auto const prompt = compress_with(prompt_low_rank{{.rank = 4}}, error_feedback{});
    add_case(h, "PowerSGD r=4, memory written", g, 1e-6, prompt);
    many_case(h, "PowerSGD r=4, ResNet-50's 54 matrices", resnet_50(), g, 2.5, power_sgd(4));
    many_case(h, "PowerSGD r=4, ResNet-50, memory written", resnet_50(), g, 3.5, prompt);
    many_case(h, "PowerSGD r=4, GPT-2's 50 matrices", gpt_2(), g, 2.5, power_sgd(4));
    many_case(h, "PowerSGD r=4, GPT-2, memory written", gpt_2(), g, 3.5, prompt);
    many_against_one(h, "PowerSGD r=4, ResNet-50 beside one matrix", resnet_50(), g, 1.3, power_sgd(4));
    many_against_one(h, "PowerSGD r=4, GPT-2 beside one matrix", gpt_2(), g, 1.3, power_sgd(4));
    orthonormalise_share(h, "PowerSGD r=4, ResNet-50: bases orthonormal, share", resnet_50(), g, 4, power_sgd(4));
    orthonormalise_share(h, "PowerSGD r=4, GPT-2: bases orthonormal, share", gpt_2(), g, 4, power_sgd(4));
    add_case(h, "ACP-SGD r=4", g, 1e-6, acp_sgd(4));
    many_case(h, "ACP-SGD r=4, ResNet-50's 54 matrices", resnet_50(), g, 0, acp_sgd(4));
    add_case(h, "LQ-SGD r=4", g, 1e-6, lq_sgd(4));
    add_case(h, "random_projection r=4", g, 100, compress_with(random_projection{.rank = 4}));
    add_case(h, "random_projection r=4 + EF", g, 1e-4, compress_with(random_projection{.rank = 4}, error_feedback{}));
    add_case(h, "svd r=2", g, 1, compress_with(svd{}));
    add_case(h, "svd r=2 + EF", g, 1e-6, compress_with(svd{}, error_feedback{}));
    bare_cases(h, g);
    good = h.good();
  }
  Kokkos::finalize();
  return good ? 0 : 1;
}
