// SPDX-License-Identifier: Apache-2.0
// Every hot kernel against memcpy, each with a check of its answer.   ./dev bench kernels [--json FILE]

#include "support/harness.hpp"
#include "support/is_top_k.hpp"

#include <gradpress/compressor.hpp>
#include <gradpress/encode/smallest_index.hpp>
#include <gradpress/exchange/all_gather.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/kernel/cast.hpp>
#include <gradpress/kernel/compact.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/low_rank.hpp>
#include <gradpress/kernel/merge.hpp>
#include <gradpress/kernel/momentum.hpp>
#include <gradpress/kernel/orthonormalise.hpp>
#include <gradpress/kernel/sign.hpp>
#include <gradpress/kernel/sparse.hpp>
#include <gradpress/kernel/sparse_sum.hpp>
#include <gradpress/kernel/stochastic_int.hpp>
#include <gradpress/kernel/top_k.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/none.hpp>
#include <gradpress/quantize/one_magnitude.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/sign_bits.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/random_block.hpp>
#include <gradpress/select/sampled_top_k.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>

using namespace gradpress;
using namespace gradpress::bench;

namespace {
using exec_space = Kokkos::DefaultHostExecutionSpace;
exec_space const exec;

void sparse_cases(harness& h, array const& g, array const& e, array const& a) {
  auto const n = h.n();
  for (double const density : {0.001, 0.01}) {
    auto const k = static_cast<std::size_t>(density * static_cast<double>(n));
    auto const percent = density < 0.005 ? std::string(".1%") : std::string("1%");
    std::vector<std::byte> work(kernel::top_k_workspace(n, k));
    std::vector<index_t> at(k);
    std::vector<float> values(k);
    h.add(
        "top_k " + percent, 0.5, density < 0.005 ? 0.80 : 1.10,
        [&] { kernel::top_k(exec, g.data(), n, k, work.data(), at.data(), values.data()); },
        [&] { return is_top_k(g.data(), n, at); });
    h.add(
        "top_k_sum " + percent + " (g + e, select, pack)", 1.5, density < 0.005 ? 1.5 : 2.0,
        [&] { kernel::top_k_sum(exec, g.data(), e.data(), a.data(), n, k, work.data(), at.data(), values.data()); },
        [&] {
          for (std::size_t i = 0; i < n; ++i)
            if (a[i] != g[i] + e[i]) return false;
          return is_top_k(a.data(), n, at);
        });
    if (auto const name = "momentum_correction " + percent + " (signal, select, pack, mask)"; h.wants(name)) {
      array u(n), next(n);
      fill_gradient(u, 9);
      kernel::momentum_pass const pass{g.data(), u.data(), e.data(), 0.9f, 1.f, false};
      h.add(
          name, 2.5, density < 0.005 ? 2.8 : 0,
          [&] {
            kernel::top_k_formed(exec, kernel::momentum_form(pass, next.data(), n), a.data(), n, k, work.data(),
                                 at.data(), values.data());
            kernel::subtract_at(exec, a.data(), at.data(), values.data(), k);
            kernel::momentum_mask_at(exec, pass, a.data(), at.data(), k, next.data());
          },
          [&] {
            std::size_t masked = 0;
            for (std::size_t i = 0; i < n; ++i) {
              float const product = pass.mu * u[i], moved = product + g[i];
              if (next[i] == moved ? a[i] != e[i] + moved : next[i] != 0 || a[i] != 0) return false;
              masked += next[i] != moved;
            }
            return masked <= k && std::is_sorted(at.begin(), at.end());
          });
    }
    std::vector<float> sorted(n);
    for (std::size_t i = 0; i < n; ++i) sorted[i] = std::fabs(g[i]);
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(k), sorted.end(), std::greater<>());
    auto const tau = sorted[k];
    std::vector<index_t> kept(n);
    std::vector<std::size_t> counts(kernel::compact_chunks(n));
    std::size_t count = 0;
    bool finite = false;
    h.add(
        "threshold " + percent, 0.5, 0.70,
        [&] { count = kernel::compact_positions(exec, g.data(), n, tau, kept.data(), counts.data(), finite); },
        [&] {
          std::size_t m = 0;
          for (std::size_t i = 0; i < n; ++i)
            if (std::fabs(g[i]) >= tau && (m >= count || kept[m++] != i)) return false;
          return m == count && finite;
        });
    kernel::stream const s{at.data(), values.data(), k};
    h.add(
        "scatter_mean " + percent, 0.5, 0, [&] { kernel::scatter_mean(exec, &s, 1, 4.f, a.data(), n); },
        [&] {
          double sum = 0, expected = 0;
          for (std::size_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]);
          for (auto const v : values) expected += static_cast<double>(v / 4.f);
          return std::fabs(sum - expected) < 1e-6 * (1 + std::fabs(expected));
        });
    std::vector<index_t> other_at = at, mine_at(k), lost_at(2 * k);
    std::vector<float> other = values, mine(k), lost(2 * k);
    for (std::size_t i = 0; i + 1 < k; i += 3) other_at[i] = std::min(other_at[i] + 1, other_at[i + 1] - 1);
    std::vector<std::byte> room(kernel::merge_top_k_workspace(k, k));
    std::size_t dropped = 0;
    h.add(
        "gtop_k merge " + percent + " (k + k entries)", 0, 0,
        [&] {
          std::copy(at.begin(), at.end(), mine_at.begin());
          std::copy(values.begin(), values.end(), mine.begin());
          kernel::merge_top_k(mine_at.data(), mine.data(), k, other_at.data(), other.data(), k, k, room.data(),
                              lost_at.data(), lost.data(), dropped);
        },
        [&] {  // nothing is lost: what was kept and what was dropped is what there was
          double kept_sum = 0, sum = 0;
          for (std::size_t i = 0; i < k; ++i) kept_sum += static_cast<double>(mine[i]), sum += values[i] + other[i];
          for (std::size_t i = 0; i < dropped; ++i) kept_sum += static_cast<double>(lost[i]);
          return std::is_sorted(mine_at.begin(), mine_at.end()) && dropped <= k &&
                 std::fabs(kept_sum - sum) <= 1e-5 * std::fabs(sum) + 1e-6;
        },
        2 * k);
    // Eight ranks, every second of which has the same support.
    std::vector<kernel::stream> ranks;
    for (int r = 0; r < 8; ++r) ranks.push_back({r % 2 == 0 ? at.data() : other_at.data(), values.data(), k});
    std::vector<index_t> sum_at(8 * k);
    std::vector<float> sums(8 * k);
    std::vector<std::uint32_t> words(kernel::kth_words_serial);
    std::size_t next[8], entries = 0;
    auto const add = [&] { entries = kernel::sum_streams(ranks.data(), 8, next, sum_at.data(), sums.data()); };
    auto const ascending = [&] {
      return kernel::valid_indices(sum_at.data(), entries, n) && entries >= k && entries <= 2 * k;
    };
    h.add("sum_streams " + percent + " (8 k entries)", 0, 0, add, ascending, 8 * k);
    h.add(
        "sum_streams and keep_largest " + percent + " (8 k entries)", 0, 0,
        [&] {
          add();
          entries = kernel::keep_largest(sum_at.data(), sums.data(), entries, k, words.data());
        },
        [&] { return kernel::valid_indices(sum_at.data(), entries, n) && entries == k; }, 8 * k);
  }
}

/// Positions of the .1 % and 1 % largest, written and read; entries, not elements.
void index_cases(harness& h, array const& g) {
  auto const n = h.n();
  for (double const density : {0.001, 0.01}) {
    auto const k = static_cast<std::size_t>(density * static_cast<double>(n));
    auto const percent = density < 0.005 ? std::string(".1%") : std::string("1%");
    std::vector<std::byte> work(kernel::top_k_workspace(n, k));
    std::vector<index_t> at(k), back(k);
    std::vector<float> values(k);
    kernel::top_k(exec, g.data(), n, k, work.data(), at.data(), values.data());
    auto const code_cases = [&](auto const& code) {
      std::vector<std::byte> bytes(code.index_bytes(n, k));
      bool legal = false;
      auto const name = std::string(code.name) + ' ' + percent;
      auto const read = [&] { legal = code.read(bytes.data(), k, n, back.data()); };
      auto const right = [&] { return read(), legal && back == at; };
      h.add(
          name + ", write", 0, 0, [&] { code.write(at.data(), k, n, bytes.data()); }, right, k);
      code.write(at.data(), k, n, bytes.data());
      h.add(name + ", read", 0, 0, read, right, k);
    };
    code_cases(local_index{});
    code_cases(bitmap_index{});
    code_cases(elias_fano{});
  }
}

void quantizer_cases(harness& h, array const& g, array const& e, array const& a) {
  auto const n = h.n();
  constexpr std::size_t block = 1024;
  std::vector<std::byte> codes(kernel::int_bytes(n, 8, block) + 8 * n / 4);
  auto const decoded_near = [&](auto const& decode, double most) {  // mean |decoded - g| against mean |g|
    decode();
    double error = 0, size = 0;
    for (std::size_t i = 0; i < n; ++i)
      error += std::fabs(static_cast<double>(a[i]) - g[i]), size += std::fabs(static_cast<double>(g[i]));
    return error <= most * size;
  };
  h.add(
      "sign pack", 0.516, 0.70, [&] { kernel::sign_encode(exec, g.data(), n, block, codes.data()); },
      [&] { return decoded_near([&] { kernel::sign_decode(exec, codes.data(), n, block, a.data()); }, 0.7); });
  auto const reset = [&] { std::memcpy(a.data(), g.data(), n * sizeof(float)); };
  auto const accumulated = [&](auto const& decode) {  // after reset() and one accumulation: g + decoded
    array back(n);
    decode(back.data());
    for (std::size_t i = 0; i < n; ++i)
      if (a[i] != g[i] + back[i]) return false;
    return true;
  };
  reset();
  h.add(
      "sign unpack + accumulate", 1.02, 1.2,
      [&] { kernel::sign_accumulate(exec, codes.data(), n, block, 1.f, a.data()); },
      [&] { return accumulated([&](float* to) { kernel::sign_decode(exec, codes.data(), n, block, to); }); });
  h.add(
      "sign + EF", 1.516, 1.6,
      [&] { kernel::sign_encode_sum(exec, g.data(), e.data(), a.data(), n, block, codes.data()); },
      [&] {
        array back(n);
        kernel::sign_decode(exec, codes.data(), n, block, back.data());
        for (std::size_t i = 0; i < n; ++i)
          if (a[i] != (g[i] + e[i]) - back[i]) return false;
        return true;
      });
  for (int const bits : {8, 4, 2}) {
    auto const b = std::to_string(bits);
    h.add(
        "int" + b + " stochastic (Philox)", 0.5 + bits / 64.0, 1.35,
        [&] { kernel::int_encode(exec, g.data(), n, bits, block, true, 7, codes.data()); },
        [&] {
          return decoded_near([&] { kernel::int_decode(exec, codes.data(), n, bits, block, a.data()); },
                              bits == 8   ? 0.02
                              : bits == 4 ? 0.3
                                          : 1.5);
        });
    reset();
    h.add(
        "int" + b + " dequantise + accumulate", 1.0 + bits / 64.0, 1.2,
        [&] { kernel::int_accumulate(exec, codes.data(), n, bits, block, 1.f, a.data()); },
        [&] { return accumulated([&](float* to) { kernel::int_decode(exec, codes.data(), n, bits, block, to); }); });
    h.add(
        "int" + b + " stochastic + EF", 1.5 + bits / 64.0, 2.0,
        [&] { kernel::int_encode_sum(exec, g.data(), e.data(), a.data(), n, bits, block, true, 7, codes.data()); },
        [&] {
          array back(n);
          kernel::int_decode(exec, codes.data(), n, bits, block, back.data());
          for (std::size_t i = 0; i < n; ++i)
            if (a[i] != (g[i] + e[i]) - back[i]) return false;
          return true;
        });
  }
  h.add(
      "int8 nearest", 0.625, 0, [&] { kernel::int_encode(exec, g.data(), n, 8, block, false, 0, codes.data()); },
      [&] { return decoded_near([&] { kernel::int_decode(exec, codes.data(), n, 8, block, a.data()); }, 0.01); });
  auto* const bf = reinterpret_cast<bfloat16*>(codes.data());
  auto* const fp = reinterpret_cast<float16*>(codes.data());
  h.add(
      "bf16 cast", 0.75, 0.95, [&] { kernel::cast_encode(exec, g.data(), n, bf); },
      [&] {
        for (std::size_t i = 0; i < n; ++i)
          if (bf[i] != to_bfloat16(g[i])) return false;
        return true;
      });
  reset();
  h.add(
      "bf16 accumulate", 1.25, 0, [&] { kernel::cast_accumulate(exec, bf, n, 1.f, a.data()); },
      [&] {
        return accumulated([&](float* to) {
          for (std::size_t i = 0; i < n; ++i) to[i] = to_float(bf[i]);
        });
      });
  h.add(
      "fp16 cast", 0.75, 0.95, [&] { kernel::cast_encode(exec, g.data(), n, fp); },
      [&] {
        for (std::size_t i = 0; i < n; ++i)
          if (fp[i] != to_float16(g[i])) return false;
        return true;
      });
}

/// A compressor that writes messages, one rank's and of all phases, and may hear its own.
template <class Method>
class sender {
  arena<exec_space> memory_;
  step<exec_space> ctx_{.exec = exec, .memory = &memory_};
  tensor_coder<exec_space, Method> coder_;
  array message_;
  in_bytes<exec_space> sent_;

 public:
  sender(Method const& method, std::size_t n) : coder_(method, ctx_, {n, 1}), message_(2 * n + 64) {}
  void send(array const& g) {
    coder_.begin(ctx_);
    for (ctx_.phase = 0;; ++ctx_.phase) {
      auto* const to = reinterpret_cast<std::byte*>(message_.data());
      auto const room = coder_.capacity(ctx_.phase, 1);
      auto const size = coder_.encode(ctx_, in<exec_space>(g.data(), g.size()), bytes<exec_space>(to, room));
      sent_ = in_bytes<exec_space>(to, size);
      if (ctx_.phase + 1 == coder_.phases()) break;
      coder_.accept(ctx_, heard());
    }
    memory_.release();
  }
  void hear(array const& update) {
    coder_.commit(ctx_, view<exec_space>(update.data(), update.size()), heard());
    memory_.release();
  }
  [[nodiscard]] in_bytes<exec_space> sent() const { return sent_; }
  buffer<exec_space> residual() { return coder_.residual(ctx_); }

 private:
  arrival<exec_space> heard() const { return {{&sent_, 1}, arrival_form::each}; }
};

/// What a memory adds to sending: the same method without one and with one. Floors are the bytes of the passes that each
/// needs, over 8.
template <class... Policies>
void memory_case(harness& h, std::string const& policy, array const& g, array const& e, array const& a, double floor,
                 double with_memory, Policies const&... policies) {
  auto const name = "send " + policy, remembering = name + " + EF";
  if (!h.wants(name) && !h.wants(remembering)) return;
  auto const method = compress_with(policies..., all_gather{});
  auto const with = compress_with(policies..., all_gather{}, error_feedback{});
  sender plain(method, h.n());
  sender twin(with, h.n()), sums(with, h.n());
  h.add(
      name, floor, 0, [&] { plain.send(g); },
      [&] {  // what one sends that remembers nothing yet
        twin.send(g);
        auto const mine = plain.sent(), other = twin.sent();
        return mine.extent(0) == other.extent(0) && std::memcmp(mine.data(), other.data(), mine.extent(0)) == 0;
      });
  std::memcpy(sums.residual().data(), e.data(), h.n() * sizeof(float));
  h.add(
      remembering, with_memory, 0, [&] { sums.send(g); },
      [&] {  // what was sent and what is left are all that there was
        sums.hear(a);
        auto const left = sums.residual();
        double off = 0, size = 0;
        for (std::size_t i = 0; i < h.n(); ++i) {
          double const all = static_cast<double>(g[i] + e[i]), found = static_cast<double>(a[i]);
          off += std::fabs(found + static_cast<double>(left(i)) - all), size += std::fabs(all) + std::fabs(found);
        }
        return off <= 1e-6 * size;
      });
}

void memory_cases(harness& h, array const& g, array const& e, array const& a) {
  double const words = 1 / 64.;  // a bit an element
  memory_case(h, "none", g, e, a, 1, 2, unquantized{});
  memory_case(h, "sign", g, e, a, 0.5 + words, 1.5 + words, sign{});
  memory_case(h, "sign_bits", g, e, a, 0.5 + words, 1.5 + words, sign_bits{});
  memory_case(h, "one_magnitude", g, e, a, 1 + words, 2.5 + words, one_magnitude{});
  memory_case(h, "log, 8 bits", g, e, a, 1.125, 2.625, log_quantizer{});
  memory_case(h, "log, 4 bits", g, e, a, 1.0625, 2.5625, log_quantizer{.bits = 4});
  memory_case(h, "ternary", g, e, a, 1.25, 2.75, ternary{});
  memory_case(h, "ternary8", g, e, a, 1.125, 2.625, ternary8{});
  memory_case(h, "top_k .1%", g, e, a, 0.5, 1.5, top_k{.density = 0.001});
  memory_case(h, "sampled_top_k .1%", g, e, a, 0.5, 2, sampled_top_k{.density = 0.001});
  memory_case(h, "threshold", g, e, a, 0.5, 2, threshold{.tau = 0.01});
  memory_case(h, "random_block 1/64", g, e, a, 0.5, 2, random_block{});
}

void low_rank_cases(harness& h, array const& g, array const& e, array const& a) {
  std::size_t const cols = h.n() >= 25000000 ? 6256 : 1000, rows = h.n() / cols;
  array out(h.n());
  for (std::size_t const r : {1u, 2u, 4u, 8u}) {
    auto const suffix = " r=" + std::to_string(r);
    double const must = r <= 4 ? 0.70 : 0;
    array Q(cols * r), Q2(cols * r), P(rows * r);
    fill_gradient(Q, 3);
    fill_gradient(P, 4);
    std::vector<std::byte> work(kernel::low_rank_workspace(rows, cols, r)),
        room(kernel::orthonormalise_workspace(rows, r));
    h.add(
        "P = M Q" + suffix, 0.5, must,
        [&] { kernel::multiply(exec, g.data(), rows, cols, Q.data(), r, work.data(), P.data()); },
        [&] {
          double expected = 0, size = 0;
          for (std::size_t c = 0; c < cols; ++c)
            expected += static_cast<double>(g[c]) * Q[c * r], size += std::fabs(static_cast<double>(g[c]) * Q[c * r]);
          return std::fabs(expected - P[0]) < 1e-5 * size;
        });
    h.add(
        "Q = M^T P" + suffix, 0.5, must,
        [&] { kernel::multiply_transposed(exec, g.data(), rows, cols, P.data(), r, work.data(), Q2.data()); },
        [&] {
          double expected = 0, size = 0;
          for (std::size_t i = 0; i < rows; ++i)
            expected += static_cast<double>(g[i * cols]) * P[i * r],
                size += std::fabs(static_cast<double>(g[i * cols]) * P[i * r]);
          return std::fabs(expected - Q2[0]) < 1e-5 * size;
        });
    h.add(
        "PowerSGD step" + suffix, 3.5, r == 4 ? 3.6 : 0,
        [&] {
          kernel::multiply_sum(exec, g.data(), e.data(), a.data(), rows, cols, Q.data(), r, work.data(), P.data());
          kernel::orthonormalise(exec, P.data(), rows, r, room.data());
          kernel::multiply_transposed(exec, a.data(), rows, cols, P.data(), r, work.data(), Q2.data());
          kernel::outer_and_subtract(exec, P.data(), Q2.data(), Q2.data(), rows, cols, r, work.data(), out.data(),
                                     a.data());
        },
        [&] {
          for (std::size_t i = 0; i < h.n() / cols * cols; i += 9973)
            if (std::fabs(a[i] + out[i] - (g[i] + e[i])) > 1e-6f) return false;
          return true;
        });
    // The memory owes the last step's product; the update is written, or stays two factors.
    array P2(rows * r);
    for (bool const writes : {true, false})
      h.add(
          "PowerSGD step" + suffix + (writes ? ", owed" : ", owed, update as factors"), writes ? 2.5 : 2,
          r == 4 && !writes ? 2.1 : 0,
          [&, writes] {
            kernel::multiply_sum_owed(exec, g.data(), e.data(), P2.data(), Q.data(), a.data(), rows, cols, Q.data(), r,
                                      work.data(), P.data());
            kernel::orthonormalise(exec, P.data(), rows, r, room.data());
            kernel::multiply_transposed(exec, a.data(), rows, cols, P.data(), r, work.data(), Q2.data());
            if (writes) kernel::outer(exec, P.data(), Q2.data(), rows, cols, r, work.data(), out.data());
          },
          [&] {
            for (std::size_t i = 0; i < h.n() / cols * cols; i += 9973)
              if (std::fabs(a[i] - (g[i] + e[i])) > 1e-6f) return false;  // P2 is zero
            return true;
          });
  }
}
}  // namespace

int main(int argc, char** argv) {
  auto const o = parse(argc, argv, "bench kernels: every hot kernel against memcpy, with its answer checked");
  Kokkos::initialize();
  bool good = false;
  {
    harness h(o, "kernels", static_cast<int>(exec.concurrency()));
    array g(h.n()), e(h.n()), a(h.n());
    fill_gradient(g, 2);
    fill_gradient(e, 7);
    sparse_cases(h, g, e, a);
    index_cases(h, g);
    quantizer_cases(h, g, e, a);
    memory_cases(h, g, e, a);
    low_rank_cases(h, g, e, a);
    good = h.good();
  }
  Kokkos::finalize();
  return good ? 0 : 1;
}
