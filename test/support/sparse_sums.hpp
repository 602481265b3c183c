// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What the tests of the exact sparse exchanges share: inputs whose sums are exact, supports as sets, planted damage.

#include <gradpress/communicate/counting.hpp>
#include <gradpress/communicate/faulty.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>

#include "averaging.hpp"
#include "communicator_laws.hpp"

#include <atomic>
#include <set>
#include <sstream>

namespace gradpress::test {

/// The support of a sum on its way. It travels dense from the first bound on that says so.
struct supported {
  std::set<std::size_t> at;
  bool dense = false;
  [[nodiscard]] std::uint64_t bytes(std::size_t n) const { return 4 + (dense ? 4 * n : 8 * at.size()); }
};
inline supported joined(supported const& a, supported const& b, std::size_t n) {
  supported sum{a.at, a.dense || b.dense || 8 * (a.at.size() + b.at.size()) >= 4 * n};
  sum.at.insert(b.at.begin(), b.at.end());
  return sum;
}
/// What each rank sent, as sets.
inline std::vector<supported> supports_of(std::vector<std::vector<std::size_t>> const& kept) {
  std::vector<supported> all;
  for (auto const& k : kept) all.push_back({{k.begin(), k.end()}, false});
  return all;
}

/// Bytes that rank r of a split exchange sends before the parts are summed: sizes, and every part but its own.
inline std::uint64_t bytes_of_split(std::vector<std::vector<std::size_t>> const& kept, std::size_t n, std::size_t r) {
  auto const P = kept.size();
  std::uint64_t bytes = 16 * P;
  for (std::size_t p = 0; p < P; ++p) {
    if (p == r) continue;
    auto const [from, length] = slice_of(n, p, P);
    std::size_t inside = 0;
    for (auto const i : kept[r]) inside += i >= from && i < from + length;
    bytes += 32 + 4 + std::min(8 * inside, 4 * length);
  }
  return bytes;
}
/// The support of the sum that rank r forms.
inline supported summed_part(std::vector<std::vector<std::size_t>> const& kept, std::size_t n, std::size_t r) {
  auto const [from, length] = slice_of(n, r, kept.size());
  supported sum;
  std::size_t bound = 0;
  for (auto const& k : kept) {
    std::size_t inside = 0;
    for (auto const i : k)
      if (i >= from && i < from + length) sum.at.insert(i), ++inside;
    bound += inside;
    sum.dense = sum.dense || 2 * inside >= length;
  }
  sum.dense = sum.dense || 2 * bound >= length;
  return sum;
}
inline std::size_t pad4(std::size_t n) { return (n + 3) / 4 * 4; }

/// A selector that keeps what the test says: entries that are not 0, of any number.
struct nonzero {
  using family = family::selector;
  static constexpr std::string_view name = "nonzero";
  static constexpr support where = support::own;
  static constexpr bool fixed_size = false;
  [[nodiscard]] std::size_t max_kept(std::size_t n) const { return n; }
  template <class Exec>
  void select(step<Exec> const&, in<Exec> x, selection<Exec>& kept) const {
    kept.count = 0;
    for (std::size_t i = 0; i < x.extent(0); ++i)
      if (x(i) != 0) kept.indices(kept.count++) = static_cast<index_t>(i);
  }
};
/// The same number of entries on every rank: the first k that are not 0, then zeros from the back.
struct first_k {
  double density = 0.1;
  using family = family::selector;
  static constexpr std::string_view name = "first_k";
  static constexpr support where = support::own;
  static constexpr bool fixed_size = true;
  static constexpr auto knobs = std::tuple{knob{"density", &first_k::density}};
  [[nodiscard]] std::size_t max_kept(std::size_t n) const {
    return std::min(n, static_cast<std::size_t>(density * static_cast<double>(n) + 0.5));
  }
  template <class Exec>
  void select(step<Exec> const&, in<Exec> x, selection<Exec>& kept) const {
    auto const n = x.extent(0), k = max_kept(n);
    std::vector<bool> taken(n);
    std::size_t have = 0;
    for (std::size_t i = 0; i < n && have < k; ++i)
      if (x(i) != 0) taken[i] = true, ++have;
    for (std::size_t i = n; i-- > 0 && have < k;)
      if (!taken[i]) taken[i] = true, ++have;
    kept.count = 0;
    for (std::size_t i = 0; i < n; ++i)
      if (taken[i]) kept.indices(kept.count++) = static_cast<index_t>(i);
  }
};

/// Small integers times 840, so that sums and means over up to 8 ranks are exact, at random places.
inline std::vector<floats> sparse_gradients(std::size_t P, std::size_t n, double density) {
  std::vector<floats> g(P, floats(n));
  for (std::size_t p = 0; p < P; ++p) {
    key const k = key{1234}.with(p + 1).with(n);
    for (std::size_t i = 0; i < n; ++i)
      if (static_cast<double>(k.uniform(i)) < density)
        g[p][i] = 840.f * static_cast<float>(1 + k.bits(i) % 9) * (k.bits(i + n) % 2 == 0 ? 1.f : -1.f);
  }
  return g;
}

/// Calls f(gradients, exact means, what each rank sends, method) for P = 1..9, edge lengths, densities 0..1.
template <class X, class F>
void for_each_sparse_input(X exchange, F const& f) {
  for (std::size_t P = 1; P <= 9; ++P)
    for (std::size_t const n : {0u, 1u, 31u, 32u, 33u, 500u})
      for (double const density : {0.0, 0.02, 0.1, 0.25, 0.5, 1.0}) {
        CAPTURE(P);
        CAPTURE(n);
        CAPTURE(density);
        auto const g = sparse_gradients(P, n, density);
        {
          std::vector<std::vector<std::size_t>> kept(P);
          for (std::size_t p = 0; p < P; ++p)
            for (std::size_t i = 0; i < n; ++i)
              if (g[p][i] != 0) kept[p].push_back(i);
          f(g, g, kept, compress_with(nonzero{}, error_feedback{}, exchange));
        }
        {
          first_k const s{.density = density};
          std::vector<std::vector<std::size_t>> kept(P);
          auto sent = g;
          lone_rank r;
          for (std::size_t p = 0; p < P; ++p) {
            selection<host> one{buffer<host, index_t>("kept", n), 0};
            s.select(r.ctx, over(g[p]), one);
            sent[p] = floats(n);
            for (std::size_t i = 0; i < one.count; ++i) {
              kept[p].push_back(one.indices(i));
              sent[p][one.indices(i)] = g[p][one.indices(i)];
            }
          }
          f(g, sent, kept, compress_with(s, error_feedback{}, exchange));
        }
      }
}

/// Two tensors of a fixed and two of a variable size (of a fixed one where X takes no other), over a transport that offers everything and over one that offers
/// all_gather alone: the same bits, and one lane a kind.
template <class X>
void check_fused_and_derived(X exchange) {
  for (int P : {1, 2, 3, 5, 8}) {
    std::vector<std::vector<floats>> native(static_cast<std::size_t>(P)), derived = native;
    auto const steps = [&](auto& comm, std::vector<std::vector<floats>>& out) {
      auto const p = static_cast<std::size_t>(comm.rank());
      reducer r{serial{}, comm};
      auto const fixed = compress_with(top_k{.density = 0.1}, error_feedback{}, exchange);
      constexpr bool takes_any = X::accepts({.combines = combination::merge, .fixed_size = false});
      auto const any = [&] {
        if constexpr (takes_any)
          return compress_with(threshold{.tau = 0.3f}, error_feedback{}, exchange);
        else
          return fixed;
      }();
      std::vector<reducer<serial>::tensor> const t = {r.add("a", 300, 1, fixed), r.add("b", 300, 1, any),
                                                      r.add("c", 41, 1, fixed), r.add("d", 41, 1, any)};
      if (r.lanes() != (takes_any ? 2 : 1)) throw std::runtime_error("tensors of one kind do not share a lane");
      for (int s = 0; s < 3; ++s) {
        std::vector<floats> g;
        for (std::size_t i = 0; i < t.size(); ++i)
          g.push_back(heavy_tailed(i < 2 ? 300 : 41, 100 * p + 10 * i + static_cast<std::size_t>(s)));
        for (std::size_t i = 0; i < t.size(); ++i) r.stage(t[i], std::span(g[i]));
        r.average();
        for (auto& x : g) out[p].push_back(std::move(x));
      }
    };
    run_ranks(P, [&](thread_communicator& c) { steps(c, native); });
    run_ranks(P, [&](thread_communicator& c) {
      gather_only<thread_communicator> bare{c};
      steps(bare, derived);
    });
    for (std::size_t p = 0; p < native.size(); ++p)
      for (std::size_t i = 0; i < native[p].size(); ++i) {
        CHECK(identical(native[p][i], native[0][i]));
        CHECK(identical(native[p][i], derived[p][i]));
      }
  }
}

/// Flips a bit in every byte, one after the other, that reaches rank `victim` of `P` in a step's exchange.
template <class Method>
void check_damage_of(Method const& method, int P = 3, int victim = 1) {
  constexpr std::size_t n = 40;
  struct place {
    long call;
    std::size_t size;
  };
  std::vector<place> arrivals;
  bool listening = true;
  std::size_t where = 0;
  long at_call = -1;
  std::atomic<int> errors{0}, wrong{0};
  auto const body = [&](thread_communicator& c) {
    faulty<thread_communicator&> comm{c, {.throws_at = -1, .corrupts = [&](long call, std::span<std::byte> in) {
                                            if (c.rank() != victim) return;
                                            if (listening) arrivals.push_back({call, in.size()});
                                            if (call == at_call) in[where] ^= std::byte{0x10};
                                          }}};
    reducer r{serial{}, comm};
    auto const w = r.add("w", n, 1, method);
    auto const g = heavy_tailed(n, static_cast<std::uint64_t>(c.rank() + 1));
    auto x = g;
    auto const saved = [&] {
      std::ostringstream file;
      r.save(file);
      return file.str();
    };
    auto const before = saved();
    try {
      r.average(w, std::span(x));
    } catch (error const& e) {
      ++errors;
      bool clean = identical(x, g) && r.step_number() == 0 && saved() == before;
      r.visit(w, [&](char const*, auto const& b) { clean = clean && copied(b) == floats(b.extent(0)); });
      if (!clean) ++wrong;
      if (dynamic_cast<communicator_error const*>(&e) != nullptr) throw;
    }
  };
  run_ranks(P, body);
  listening = false;
  REQUIRE(errors == 0);
  REQUIRE(arrivals.size() > 2);  // agreement first, vote last
  int damaged = 0;
  for (std::size_t i = 1; i + 1 < arrivals.size(); ++i) {
    at_call = arrivals[i].call;
    std::size_t const stride = arrivals[i].size > 64 ? 5 : 1;
    for (where = 0; where < arrivals[i].size; where += stride) {
      CAPTURE(i);
      CAPTURE(where);
      errors = wrong = 0;
      try {
        run_ranks(P, body, std::chrono::seconds(5));
      } catch (communicator_error const&) {
      }
      CHECK(errors == P);
      CHECK(wrong == 0);
      ++damaged;
    }
  }
  CHECK(damaged > 20);
}
template <class X>
void check_damage(X exchange, int P = 3) {
  check_damage_of(compress_with(top_k{.density = 0.1}, error_feedback{}, exchange), P);
}

}  // namespace gradpress::test
