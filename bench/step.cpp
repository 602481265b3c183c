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

/// Matrices with about the shares of ResNet-50's 54, cut out of n elements.
std::vector<shape> many_matrices(std::size_t n) {
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
  std::size_t size = 0;
  for (auto const& d : all) size += d.size();
  for (auto& d : all) {
    if (size > n) d.cols = std::max<std::size_t>(1, d.cols * n / size);
  }
  return all;
}
/// The same step for many matrices, in units of one memcpy of their elements and not of n.
template <class Method>
void many_case(harness& h, std::string const& name, array const& g, Method const& method) {
  if (!h.wants(name)) return;
  auto const shapes = many_matrices(h.n());
  self_communicator alone;
  reducer r{exec_space{}, alone};
  std::vector<typename decltype(r)::tensor> t;
  for (std::size_t i = 0; i < shapes.size(); ++i)
    t.push_back(r.add(std::to_string(i), shapes[i].rows, shapes[i].cols, method));
  array work(h.n());
  std::memcpy(work.data(), g.data(), h.n() * sizeof(float));
  h.add(
      name, 0, 0,
      [&] {
        std::size_t at = 0;
        for (std::size_t i = 0; i < t.size(); at += shapes[i].size(), ++i) r.stage(t[i], work.data() + at);
        r.average();
      },
      [&] { return r.stats().steps > 0; });
}

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
    add_case(h, "bf16 + EF", g, 1e-6, compress_with(bf16{}, error_feedback{}));
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
    many_case(h, "PowerSGD r=4, ResNet-50's 54 matrices", g, power_sgd(4));
    add_case(h, "ACP-SGD r=4", g, 1e-6, acp_sgd(4));
    many_case(h, "ACP-SGD r=4, ResNet-50's 54 matrices", g, acp_sgd(4));
    add_case(h, "LQ-SGD r=4", g, 1e-6, lq_sgd(4));
    bare_cases(h, g);
    good = h.good();
  }
  Kokkos::finalize();
  return good ? 0 : 1;
}
