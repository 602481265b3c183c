// SPDX-License-Identifier: Apache-2.0
// Our side of `./dev bench peers`: the kernels of each row, run one at a time as bench/peers.py asks on stdin, so that
// both sides take turns in one run.
//
//   open ROW          makes its arrays, runs it once, checks the answer     -> checked | wrong | there is no row ROW
//   run               the next step                                        -> nanoseconds
//   write PART FILE   an input or a part of the last answer, as raw bytes  -> written | there is no part PART
//
// Without `serve` as its first word it is a benchmark like the others: every row against memcpy, each checked.

#include "support/harness.hpp"
#include "support/is_top_k.hpp"

#include <gradpress/kernel/cast.hpp>
#include <gradpress/kernel/low_rank.hpp>
#include <gradpress/kernel/orthonormalise.hpp>
#include <gradpress/kernel/sign.hpp>
#include <gradpress/kernel/sparse.hpp>
#include <gradpress/kernel/stochastic_int.hpp>
#include <gradpress/kernel/top_k.hpp>

#include <iostream>
#include <map>
#include <span>

using namespace gradpress;
using namespace gradpress::bench;

namespace {
using exec_space = Kokkos::DefaultHostExecutionSpace;
exec_space const exec;
constexpr std::size_t block = 1024, rank = 4;

using part = std::function<std::span<std::byte const>()>;
template <class T>
part part_of(T const* data, std::size_t n) {
  return [=] { return std::as_bytes(std::span(data, n)); };
}

/// `run` is one step from where the last one ended; `right` judges the first.
struct row {
  std::function<void()> run;
  std::function<bool()> right;
  std::map<std::string, part> parts;
};

struct inputs {
  array gradient, residual, factor;
  std::size_t n, cols = n >= 25000000 ? 6256 : n >= 100000 ? 1008 : 16, rows = n / cols;

  explicit inputs(std::size_t size) : gradient(size), residual(size), factor(6256 * rank), n(size) {
    fill_gradient(gradient, 2);
    fill_gradient(residual, 7);
    fill_gradient(factor, 3);
  }
};

/// |left - right| against |right|, in l2.
template <class Left, class Right>
double distance(std::size_t n, Left const& left, Right const& right) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < n; ++i) {
    auto const r = static_cast<double>(right(i)), d = static_cast<double>(left(i)) - r;
    error += d * d, size += r * r;
  }
  return std::sqrt(error / size);
}

row top_k_row(inputs const& in, double density) {
  struct state {
    std::vector<std::byte> work;
    std::vector<index_t> at;
    std::vector<float> values;
  };
  auto const n = in.n, k = static_cast<std::size_t>(density * static_cast<double>(n));
  auto const s = std::make_shared<state>(
      state{std::vector<std::byte>(kernel::top_k_workspace(n, k)), std::vector<index_t>(k), std::vector<float>(k)});
  auto const* const g = in.gradient.data();
  return {[=] { kernel::top_k(exec, g, n, k, s->work.data(), s->at.data(), s->values.data()); },
          [=] { return is_top_k(g, n, s->at); },
          {{"indices", part_of(s->at.data(), k)}, {"values", part_of(s->values.data(), k)}}};
}

row top_k_memory_row(inputs const& in, double density) {
  struct state {
    array e, a;
    std::vector<std::byte> work;
    std::vector<index_t> at;
    std::vector<float> values;
  };
  auto const n = in.n, k = static_cast<std::size_t>(density * static_cast<double>(n));
  auto const s =
      std::make_shared<state>(state{array(n), array(n), std::vector<std::byte>(kernel::top_k_workspace(n, k)),
                                    std::vector<index_t>(k), std::vector<float>(k)});
  auto const* const g = in.gradient.data();
  auto const* const first = in.residual.data();
  std::memcpy(s->e.data(), first, n * sizeof(float));
  return {[=] {
            kernel::top_k_sum(exec, g, s->e.data(), s->a.data(), n, k, s->work.data(), s->at.data(), s->values.data());
            kernel::subtract_at(exec, s->a.data(), s->at.data(), s->values.data(), k);
            std::swap(s->e, s->a);
          },
          [=] {
            array sum(n), whole(n);
            for (std::size_t i = 0; i < n; ++i) sum[i] = g[i] + first[i], whole[i] = s->e[i];
            for (std::size_t j = 0; j < k; ++j) whole[s->at[j]] += s->values[j];
            return std::equal(sum.data(), sum.data() + n, whole.data()) && is_top_k(sum.data(), n, s->at);
          },
          {{"indices", part_of(s->at.data(), k)},
           {"values", part_of(s->values.data(), k)},
           {"residual", [=] { return std::as_bytes(std::span(s->e.data(), n)); }}}};
}

row int_row(inputs const& in, int bits, bool stochastic) {
  struct state {
    std::vector<std::byte> codes;
    array decoded;
    std::uint64_t step = 0;
  };
  auto const n = in.n;
  auto const s = std::make_shared<state>(state{std::vector<std::byte>(kernel::int_bytes(n, bits, block)), array(n)});
  auto const* const g = in.gradient.data();
  auto const decode = [=] { kernel::int_decode(exec, s->codes.data(), n, bits, block, s->decoded.data()); };
  return {[=] { kernel::int_encode(exec, g, n, bits, block, stochastic, ++s->step, s->codes.data()); },
          [=] {  // within a step of its block; within half of one where it is rounded to nearest
            decode();
            auto const steps = static_cast<float>((1 << (bits - 1)) - 1);
            for (std::size_t b = 0; b < n; b += block) {
              float most = 0;
              for (auto i = b; i < std::min(n, b + block); ++i) most = std::max(most, std::fabs(g[i]));
              auto const limit = most / steps * (stochastic ? 1.0001f : 0.5001f);
              for (auto i = b; i < std::min(n, b + block); ++i)
                if (std::fabs(s->decoded[i] - g[i]) > limit) return false;
            }
            return true;
          },
          {{"decoded", [=] { return decode(), std::as_bytes(std::span(s->decoded.data(), n)); }}}};
}

row sign_row(inputs const& in) {
  struct state {
    array e, a;
    std::vector<std::byte> codes;
  };
  auto const n = in.n;
  auto const s =
      std::make_shared<state>(state{array(n), array(n), std::vector<std::byte>(kernel::sign_bytes(n, block))});
  auto const* const g = in.gradient.data();
  auto const* const first = in.residual.data();
  std::memcpy(s->e.data(), first, n * sizeof(float));
  auto const scales = 4 * ((n + block - 1) / block);
  return {[=] {
            kernel::sign_encode_sum(exec, g, s->e.data(), s->a.data(), n, block, s->codes.data());
            std::swap(s->e, s->a);
          },
          [=] {
            array back(n);
            kernel::sign_decode(exec, s->codes.data(), n, block, back.data());
            for (std::size_t i = 0; i < n; ++i)
              if (s->e[i] != (g[i] + first[i]) - back[i]) return false;
            return true;
          },
          {{"bits", part_of(s->codes.data() + scales, (n + 7) / 8)},
           {"residual", [=] { return std::as_bytes(std::span(s->e.data(), n)); }}}};
}

template <class Half, class Round>
row cast_row(inputs const& in, Round const& round) {
  auto const n = in.n;
  auto const to = std::make_shared<std::vector<Half>>(n);
  auto const* const g = in.gradient.data();
  return {[=] { kernel::cast_encode(exec, g, n, to->data()); },
          [=] {
            for (std::size_t i = 0; i < n; ++i)
              if ((*to)[i] != round(g[i])) return false;
            return true;
          },
          {{"decoded", part_of(to->data(), n)}}};
}

row product_row(inputs const& in) {
  struct state {
    array P;
    std::vector<std::byte> work;
  };
  auto const rows = in.rows, cols = in.cols;
  auto const s = std::make_shared<state>(
      state{array(rows * rank), std::vector<std::byte>(kernel::low_rank_workspace(rows, cols, rank))});
  auto const *const M = in.gradient.data(), *const Q = in.factor.data();
  return {[=] { kernel::multiply(exec, M, rows, cols, Q, rank, s->work.data(), s->P.data()); },
          [=] {
            for (std::size_t i = 0; i < rows; i += 97) {
              double expected = 0, size = 0;
              for (std::size_t c = 0; c < cols; ++c) {
                auto const term = static_cast<double>(M[i * cols + c]) * static_cast<double>(Q[c * rank]);
                expected += term, size += std::fabs(term);
              }
              if (!(std::fabs(expected - static_cast<double>(s->P[i * rank])) <= 1e-5 * size)) return false;
            }
            return true;
          },
          {{"product", part_of(s->P.data(), rows * rank)}}};
}

/// What becomes of P Q^T in a step: written to the update, and subtracted from the memory or owed by it until the next.
enum class memory { written, owed, owed_and_factors };

row power_row(inputs const& in, memory how) {
  struct state {
    array e, a, out, Q, Q_next, P, P_owed;
    std::vector<std::byte> work, room;
  };
  auto const rows = in.rows, cols = in.cols, n = rows * cols;
  auto const s = std::make_shared<state>(state{array(n), array(n), array(n), array(cols * rank), array(cols * rank),
                                               array(rows * rank), array(rows * rank),
                                               std::vector<std::byte>(kernel::low_rank_workspace(rows, cols, rank)),
                                               std::vector<std::byte>(kernel::orthonormalise_workspace(rows, rank))});
  auto const* const g = in.gradient.data();
  auto const* const first = in.residual.data();
  std::memcpy(s->e.data(), first, n * sizeof(float));
  std::memcpy(s->Q.data(), in.factor.data(), cols * rank * sizeof(float));
  auto const step = [=] {
    auto* const a = s->a.data();
    auto* const P = s->P.data();
    auto* const Q = s->Q_next.data();
    if (how == memory::written)
      kernel::multiply_sum(exec, g, s->e.data(), a, rows, cols, s->Q.data(), rank, s->work.data(), P);
    else  // the last product is owed: its right factor is what this step starts from
      kernel::multiply_sum_owed(exec, g, s->e.data(), s->P_owed.data(), s->Q.data(), a, rows, cols, s->Q.data(), rank,
                                s->work.data(), P);
    kernel::orthonormalise(exec, P, rows, rank, s->room.data());
    kernel::multiply_transposed(exec, a, rows, cols, P, rank, s->work.data(), Q);
    if (how == memory::written)
      kernel::outer_and_subtract(exec, P, Q, Q, rows, cols, rank, s->work.data(), s->out.data(), a);
    else if (how == memory::owed)
      kernel::outer(exec, P, Q, rows, cols, rank, s->work.data(), s->out.data());
    std::swap(s->e, s->a), std::swap(s->Q, s->Q_next), std::swap(s->P, s->P_owed);
  };
  // What the step left to others is done here; the next step writes over `a` first.
  auto const update = [=] {
    if (how == memory::owed_and_factors)
      kernel::outer(exec, s->P_owed.data(), s->Q.data(), rows, cols, rank, s->work.data(), s->out.data());
    return std::as_bytes(std::span(s->out.data(), n));
  };
  auto const residual = [=] {
    std::memcpy(s->a.data(), s->e.data(), n * sizeof(float));
    if (how != memory::written)
      kernel::outer_subtract(exec, s->P_owed.data(), s->Q.data(), rows, cols, rank, s->work.data(), s->a.data());
    return std::as_bytes(std::span(s->a.data(), n));
  };
  return {step,
          [=] {
            update(), residual();
            return distance(
                       n, [&](std::size_t i) { return s->a[i] + s->out[i]; },
                       [&](std::size_t i) { return g[i] + first[i]; }) < 1e-6;
          },
          {{"update", update}, {"residual", residual}}};
}

using maker = std::function<row(inputs const&)>;
std::vector<std::pair<std::string, maker>> const all_rows = {
    {"top-k .1%", [](inputs const& in) { return top_k_row(in, 0.001); }},
    {"top-k 1%", [](inputs const& in) { return top_k_row(in, 0.01); }},
    {"EF + top-k .1%", [](inputs const& in) { return top_k_memory_row(in, 0.001); }},
    {"EF + top-k 1%", [](inputs const& in) { return top_k_memory_row(in, 0.01); }},
    {"QSGD 4 bit", [](inputs const& in) { return int_row(in, 4, true); }},
    {"int8 nearest", [](inputs const& in) { return int_row(in, 8, false); }},
    {"EF + sign", sign_row},
    {"bf16 cast", [](inputs const& in) { return cast_row<bfloat16>(in, to_bfloat16); }},
    {"fp16 cast", [](inputs const& in) { return cast_row<float16>(in, to_float16); }},
    {"P = M Q r=4", product_row},
    {"PowerSGD r=4", [](inputs const& in) { return power_row(in, memory::written); }},
    {"PowerSGD r=4, owed", [](inputs const& in) { return power_row(in, memory::owed); }},
    {"PowerSGD r=4, owed, factors", [](inputs const& in) { return power_row(in, memory::owed_and_factors); }},
};

/// Answers requests until stdin ends. False: one of them could not be met.
bool serve(inputs const& in) {
  std::map<std::string, part> const given = {{"gradient", part_of(in.gradient.data(), in.n)},
                                             {"memory", part_of(in.residual.data(), in.n)},
                                             {"factor", part_of(in.factor.data(), in.cols * rank)}};
  row current;
  bool good = true;
  auto const reply = [&](bool fine, std::string const& text) {
    good &= fine;
    std::cout << text << std::endl;
  };
  for (std::string verb; std::cin >> verb;) {
    std::string argument, file;
    if (verb == "open") {
      std::getline(std::cin >> std::ws, argument);
      auto const found =
          std::find_if(all_rows.begin(), all_rows.end(), [&](auto const& r) { return r.first == argument; });
      if (found == all_rows.end()) {
        reply(false, "there is no row " + argument);
        continue;
      }
      current = {};  // its arrays go first
      current = found->second(in);
      current.run();
      auto const right = current.right();
      reply(right, right ? "checked" : "wrong");
    } else if (verb == "run" && current.run) {
      auto const start = now();
      current.run();
      reply(true, std::to_string(std::lround(1e9 * (now() - start))));
    } else if (verb == "write") {
      std::cin >> argument;
      std::getline(std::cin >> std::ws, file);
      auto const& where = given.count(argument) ? given : current.parts;
      auto const found = where.find(argument);
      if (found == where.end()) {
        reply(false, "there is no part " + argument);
        continue;
      }
      auto const bytes = found->second();
      std::ofstream out(file, std::ios::binary);
      out.write(reinterpret_cast<char const*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
      reply(static_cast<bool>(out.flush()), out ? "written" : "cannot write " + file);
    } else {
      reply(false, "not understood: " + verb);
    }
  }
  return good;
}
}  // namespace

int main(int argc, char** argv) {
  bool const serving = argc > 1 && std::string_view(argv[1]) == "serve";
  auto const o = parse(argc - serving, argv + serving, "bench.peers.ours: our side of `bench peers`, against memcpy");
  Kokkos::initialize();
  bool good = false;
  {
    inputs const in(o.n);
    if (serving) {
      good = serve(in);
    } else {
      harness h(o, "ours", static_cast<int>(exec.concurrency()));
      for (auto const& [name, make] : all_rows) {
        if (!h.wants(name)) continue;
        auto const r = make(in);
        h.add(name, 0, 0, r.run, r.right);
      }
      good = h.good();
    }
  }
  Kokkos::finalize();
  return good ? 0 : 1;
}
