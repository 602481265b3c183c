// SPDX-License-Identifier: Apache-2.0
#pragma once

// What every composition must obey, whatever it is made of. One table-driven check drives each legal one; the step of a
// tensor is compiled once for the exchanges that leave it alone (any_way).

#include <gradpress/communicate/threads.hpp>
#include <gradpress/exchange/gather_top_k.hpp>
#include <gradpress/exchange/gtop_k.hpp>
#include <gradpress/exchange/ok_top_k.hpp>
#include <gradpress/exchange/recursive_doubling.hpp>
#include <gradpress/exchange/split_all_gather.hpp>
#include <gradpress/exchange/split_dense.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/reducer.hpp>
#include <gradpress/select/random_block.hpp>
#include <gradpress/select/top_k.hpp>

#include "one_of.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

namespace gradpress::test {

/// Long enough for what happens every few steps; in most worlds, a poisoned step and one after it.
inline constexpr int steps_in(int world) { return world == 2 || world == 5 ? 20 : 9; }
inline constexpr int poisoned_step = 7;

struct case_tensor {
  std::string name;
  shape dims;
  std::size_t data = 0;     ///< tensors with the same have the same gradients
  std::size_t variant = 0;  ///< of a table that has several methods in one reducer
};
inline std::vector<case_tensor> const& case_tensors() {
  static std::vector<case_tensor> const all = {{"n0", {0, 1}, 0},      {"n1", {1, 1}, 1},   {"n31", {31, 1}, 2},
                                               {"n32", {8, 4}, 3},     {"n33", {3, 11}, 4}, {"n1000", {40, 25}, 5},
                                               {"n4097", {17, 241}, 6}};
  return all;
}

/// Heavy-tailed, different on each rank and in each step, the same in every run.
inline std::vector<float> make_gradient(int rank, int step, std::size_t tensor, std::size_t n) {
  std::vector<float> g(n);
  key const k = key{77}.with(static_cast<std::uint64_t>(rank)).with(static_cast<std::uint64_t>(step)).with(tensor);
  for (std::size_t i = 0; i < n; ++i) {
    float const u = k.uniform(i) - 0.5f;
    g[i] = u * u * u * 8.f + (i % 5 == 0 ? 0.25f : 0.f);
  }
  return g;
}
/// The same, made once for all compositions.
inline std::vector<float> const& gradient_of(int rank, int step, std::size_t tensor, std::size_t n) {
  static std::mutex guard;
  static std::map<std::tuple<int, int, std::size_t>, std::vector<float>> made;
  std::lock_guard const lock(guard);
  auto& g = made[{rank, step, tensor}];
  if (g.size() != n) g = make_gradient(rank, step, tensor, n);
  return g;
}

using fields = std::map<std::string, std::vector<float>>;
template <class Reducer, class Tensor>
fields state_of_tensor(Reducer& r, Tensor t) {
  fields f;
  r.visit(t, [&](char const* name, auto b) { f[name] = std::vector<float>(b.data(), b.data() + b.extent(0)); });
  return f;
}

/// What one rank saw: everything the laws speak of, checked after all ranks are done.
struct diary {
  struct entry {
    std::vector<float> gradient, update;
    std::vector<float> signal;  // if it is another than gradient and residual
    fields before, after;
  };
  std::vector<std::vector<entry>> pages;  // [step][tensor]
  std::vector<std::uint64_t> bytes;       // a step
  std::string complaint;
};

// ---- bytes by the formulas of docs/wire.md; those of the codes alone have their own tests -----------------------------

inline std::size_t pad4(std::size_t n) { return (n + 3) & ~std::size_t{3}; }
/// A composition without its type: what the check needs to know, so that it is compiled once and not once a
/// composition.
struct composition {
  using reducer_type = reducer<gradpress::serial>;
  std::string text;
  std::vector<case_tensor> tensors = case_tensors();
  int steps = 0;  ///< 0: steps_in(P)
  int poisoned = poisoned_step;
  std::size_t poisoned_tensor = 4;  ///< not the last
  [[nodiscard]] int steps_of(int P) const { return steps > 0 ? steps : steps_in(P); }
  memory_law law = memory_law::none;
  bool fixed_size = true;
  double kept = 1;             ///< an additive memory keeps this much of what was not delivered
  bool bytes_at_most = false;  ///< the exchange sends unions of supports: the formula is a bound
  bool loses_mass = false;     ///< the published put-back of gTop-k, by design
  bool sums_narrow =
      false;  ///< sums in 16 bits round again inside the transport: stated, and held to the wire's precision
  std::function<reducer_type::tensor(reducer_type&, case_tensor const&)> add;
  std::function<std::uint64_t(int P, int rank)> bytes;  ///< a step
  /// What an additive memory makes of a gradient, where that is not the sum with its residual; else null.
  std::function<std::vector<float>(int P, std::vector<float> const& gradient, fields const& before)> signal;
};

/// The signal that a memory in this state makes of a gradient.
template <class F>
std::vector<float> signal_of(F const& f, int P, std::vector<float> const& gradient, fields const& before) {
  arena<gradpress::serial> memory;
  step<gradpress::serial> ctx;
  ctx.world = P;
  ctx.memory = &memory;
  auto const n = gradient.size();
  state_of<F, gradpress::serial> state(f, ctx, shape{n, 1});
  state.visit([&](char const* name, auto b) { std::copy_n(before.at(name).data(), b.extent(0), b.data()); });
  std::vector<float> room(n);
  auto const a =
      f.compensate(ctx, in<gradpress::serial>(gradient.data(), n), state, view<gradpress::serial>(room.data(), n));
  return {a.data(), a.data() + n};
}

template <class F>
auto signals_of(F const& f) {
  return [f](int P, std::vector<float> const& g, fields const& before) { return signal_of(f, P, g, before); };
}

/// Sums of all ranks' sparse messages: how much one rank sends depends on how their supports meet.
template <class X>
inline constexpr bool sends_unions = std::same_as<X, recursive_doubling> || std::same_as<X, split_all_gather> ||
                                     std::same_as<X, split_dense<bf16>> || std::same_as<X, ok_top_k>;

/// How long the parts of messages are in one round, whatever carries them: what does not depend on the exchange is
/// compiled once for all.
struct message_sizes {
  std::uint64_t body = 0, first_chunks = 0, sums = 0, parts = 0, rounded = 0;
  std::vector<std::size_t> whole, first;  // coefficients of each tensor, and of its first chunk
};
using sizes_of_rounds = std::function<std::vector<message_sizes>(std::size_t ranks)>;

template <class Pr, class S, class Q, class I>
std::vector<message_sizes> sizes_by_formula(Pr const& projector, S const& selector, Q const& quantizer,
                                            I const& indices, std::size_t ranks) {
  std::vector<message_sizes> all(static_cast<std::size_t>(Pr::rounds));
  for (int round = 0; round < Pr::rounds; ++round) {
    auto& to = all[static_cast<std::size_t>(round)];
    for (auto const& t : case_tensors()) {
      auto const n = projector.coefficients(t.dims, round), k = selector.max_kept(n);
      to.body += (S::where == support::own ? indices.index_bytes(n, k) : 0) + pad4(quantizer.code_bytes(k));
      auto const of_part = (n + ranks - 1) / ranks;
      to.sums += sum_stream::bytes_of(std::min(n, ranks * k), n);
      to.parts += sum_stream::bytes_of(std::min(of_part, ranks * k), of_part);
      to.rounded += 4 + pad4(2 * of_part);
      std::size_t grain = 1;
      if constexpr (requires { quantizer.grain(); }) grain = quantizer.grain();
      auto const grains = (n + grain - 1) / grain;
      to.whole.push_back(n);
      to.first.push_back(std::min(n, (grains + ranks - 1) / ranks * grain));
      to.first_chunks += pad4(quantizer.code_bytes(to.first.back()));
    }
  }
  return all;
}

template <class X>
std::uint64_t bytes_by_formula(X const& exchange, bool adds, bool agrees, std::vector<message_sizes> const& rounds,
                               int P, int rank) {
  std::uint64_t total = 0;
  auto const tensors = case_tensors().size(), ranks = static_cast<std::size_t>(P);
  for (auto const& of : rounds) {
    std::uint64_t down = 0;
    if constexpr (requires { exchange.down; })
      for (auto const n : chunks_tensors<X> ? of.first : of.whole) down += pad4(exchange.down.code_bytes(n));
    if (agrees) total += 4 * tensors;  // one float a tensor, in the phase before
    if constexpr (std::same_as<X, all_reduce>) total += of.body;
    if constexpr (std::same_as<X, all_gather>) total += of.body + (adds ? 0 : 32);
    if constexpr (std::same_as<X, gather_top_k>) total += of.body + 32;
    if constexpr (std::same_as<X, scatter_reduce>) total += ranks * (32 + of.first_chunks);
    if constexpr (requires { exchange.down; }) {
      if constexpr (chunks_tensors<X>)
        total += (ranks - 1) * (32 + of.first_chunks) + 32 + down;
      else
        total += 32 + (rank == exchange.root ? down : of.body);
    }
    if constexpr (std::same_as<X, recursive_doubling>) {  // hops: of the powers of two, and two of the fold
      std::uint64_t hops = 0;
      for (int d = 1; d < P; d *= 2) ++hops;
      total += hops * (16 + 32 + of.sums);
    }
    if constexpr (std::same_as<X, split_all_gather> || std::same_as<X, split_dense<bf16>>) {
      total += ranks * (16 + 32 + 4 * tensors) + of.body;
      total += std::same_as<X, split_all_gather> ? 16 + 32 + of.parts : 32 + of.rounded;
    }
    if constexpr (std::same_as<X, ok_top_k>) {  // regions, sizes and parts, counts and what passed, a piece of it all
      auto const passed = 32 + 4 * tensors + of.body;
      total +=
          32 + 4 * (ranks - 1) * tensors + ranks * (16 + 32 + 4 * tensors) + of.body + 8 + 4 * tensors + 2 * passed;
    }
    if constexpr (std::same_as<X, gtop_k>) {
      std::uint64_t sends = rank == 0 ? 0 : 1;                                      // once up
      for (int d = 1; d < P; d *= 2) sends += rank % (2 * d) == 0 && rank + d < P;  // and down to each child
      total += sends * (32 + of.body);
    }
  }
  return total;
}
template <class X>
auto bytes_through(X const& exchange, bool adds, bool agrees, sizes_of_rounds const& sizes) {
  return [=](int P, int rank) {
    return bytes_by_formula(exchange, adds, agrees, sizes(static_cast<std::size_t>(P)), P, rank);
  };
}
template <class Pr, class S, class Q, class I>
sizes_of_rounds sizes_of(Pr const& projector, S const& selector, Q const& quantizer, I const& indices) {
  return [=](std::size_t ranks) { return sizes_by_formula(projector, selector, quantizer, indices, ranks); };
}

template <class Method>
auto adds(Method const& m) {
  return [m](composition::reducer_type& r, case_tensor const& t) { return r.add(t.name, t.dims.rows, t.dims.cols, m); };
}

/// All but how its tensors are added.
template <class Pr, class S, class Q, class F, class X, class I>
composition facts_of(compressor<Pr, S, Q, F, X, I> const& c) {
  composition d;
  d.text = c.text();
  d.law = F::law;
  if constexpr (requires { c.feedback.decay; }) d.kept = c.feedback.decay;
  // A leader's bytes, and a projector's in its turns, depend on the step; their own tests count them.
  d.fixed_size = S::fixed_size && !leading<S> && (!takes_courses<Pr> || std::same_as<Pr, low_rank>);
  d.bytes_at_most = sends_unions<X>;
  if constexpr (std::same_as<X, gtop_k>) d.loses_mass = c.exchange.dropped == put_back::published;
  d.sums_narrow = std::same_as<X, all_reduce> && is_narrow(scalar_of<typename Q::adds_as>);
  d.bytes = bytes_through(c.exchange, c.kind.combines == combination::sum, agreeing<Q>,
                          sizes_of(c.projector, c.selector, c.quantizer, c.indices));
  if constexpr (F::law == memory_law::additive &&
                !requires(state_of<F, gradpress::serial> & s) { c.feedback.addend(s); })
    d.signal = signals_of(c.feedback);
  return d;
}

template <class Method>
composition describe_composition(Method const& m) {
  auto d = facts_of(m);
  d.add = adds(m);
  return d;
}

// ---- the check -----------------------------------------------------------------------------------------------------

inline void write_diary(composition const& method, thread_communicator& comm, diary& d) {
  composition::reducer_type r{gradpress::serial{}, comm, {.seed = 5}};
  r.learning_rate(0.1);
  auto const& tensors = method.tensors;
  auto const bad = method.poisoned_tensor;
  std::vector<composition::reducer_type::tensor> handles;
  for (std::size_t i = 0; i < tensors.size(); ++i) {  // registered in another order on each rank
    auto const& t = tensors[(i + static_cast<std::size_t>(comm.rank())) % tensors.size()];
    handles.push_back(method.add(r, t));
  }
  std::rotate(handles.begin(),
              handles.end() - static_cast<std::ptrdiff_t>(static_cast<std::size_t>(comm.rank()) % tensors.size()),
              handles.end());
  auto const snapshot = [&] {
    std::vector<fields> all;
    for (auto const h : handles) all.push_back(state_of_tensor(r, h));
    return all;
  };
  for (int s = 0; s < method.steps_of(comm.size()); ++s) {
    std::vector<diary::entry> page(tensors.size());
    auto const before = snapshot();
    for (std::size_t i = 0; i < tensors.size(); ++i)
      page[i].gradient = page[i].update = gradient_of(comm.rank(), s, tensors[i].data, tensors[i].dims.size());
    if (s == method.poisoned) {  // one rank's NaN, then the same step again without it
      auto poisoned = page;
      bool const mine = comm.rank() == comm.size() - 1;
      if (mine)
        poisoned[bad].update[17] =
            s % 2 == 0 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
      auto const handed_in = poisoned[bad].update;
      for (std::size_t i = 0; i < tensors.size(); ++i) r.stage(handles[i], poisoned[i].update.data());
      try {
        r.average();
        d.complaint = "a NaN on one rank was not reported";
      } catch (non_finite_error const& e) {
        std::string const what = e.what();
        if (what.find("tensor '" + tensors[bad].name + "'") == std::string::npos ||
            what.find("rank " + std::to_string(comm.size() - 1)) == std::string::npos)
          d.complaint = "the error names neither tensor nor rank: " + what;
      }
      if (snapshot() != before) d.complaint = "a poisoned step changed a memory";
      if (std::memcmp(poisoned[bad].update.data(), handed_in.data(), 4 * handed_in.size()) != 0 ||
          poisoned[bad + 1].update != page[bad + 1].update)
        d.complaint = "a poisoned step changed a gradient";
    }
    r.reset_statistics();
    for (std::size_t i = 0; i < tensors.size(); ++i) r.stage(handles[i], std::span<float>(page[i].update));
    r.average();
    d.bytes.push_back(r.stats().bytes_sent);
    auto const after = snapshot();
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      page[i].before = before[i], page[i].after = after[i];
      if (method.signal) page[i].signal = method.signal(comm.size(), page[i].gradient, before[i]);
    }
    d.pages.push_back(std::move(page));
  }
}

inline bool same_bits(std::vector<float> const& a, std::vector<float> const& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), 4 * a.size()) == 0);
}

/// Largest violation of the memory's law over all elements, relative to the largest number involved.
inline double law_violation(composition const& of, std::vector<diary> const& ranks, int s, std::size_t t) {
  bool const additive = of.law == memory_law::additive;
  // Of each rank: two vectors whose sum over the ranks stands on the left, and two on the right.
  struct terms {
    float const *left[2], *right[2];
  };
  auto const n = ranks[0].pages[static_cast<std::size_t>(s)][t].gradient.size();
  std::vector<float> const nothing(n);
  std::vector<terms> all;
  for (auto const& d : ranks) {
    auto const& e = d.pages[static_cast<std::size_t>(s)][t];
    auto const field = [](fields const& f, char const* name) { return f.at(name).data(); };
    bool const other = additive && !e.signal.empty();
    auto const* const first = other ? e.signal.data() : e.gradient.data();
    all.push_back(additive
                      ? terms{{first, other ? nothing.data() : field(e.before, "residual")},
                              {e.update.data(), field(e.after, "residual")}}
                      : terms{{field(e.after, "mirror"), nothing.data()}, {field(e.after, "mine"), nothing.data()}});
  }
  double worst = 0;
  for (std::size_t i = 0; i < n; ++i) {
    double left = 0, right = 0, scale = additive ? 1e-30 : 1.0;
    for (auto const& e : all) {
      double const l0 = e.left[0][i], l1 = e.left[1][i], r0 = e.right[0][i], r1 = e.right[1][i] / of.kept;
      left += l0 + l1;
      right += r0 + r1;
      scale = std::max({scale, std::abs(l0) + std::abs(l1), std::abs(r0), std::abs(r1)});
    }
    worst = std::max(worst, std::abs(left - right) / (static_cast<double>(ranks.size()) * scale));
  }
  return worst;
}

inline void check_composition(composition const& method, int P) {
  INFO("composition ", method.text, ", P = ", P);
  std::vector<diary> ranks(static_cast<std::size_t>(P));
  REQUIRE_NOTHROW(run_ranks(
      P, [&](thread_communicator& comm) { write_diary(method, comm, ranks[static_cast<std::size_t>(comm.rank())]); }));
  std::string bad;
  for (auto const& d : ranks)
    if (!d.complaint.empty()) bad = d.complaint;
  for (int s = 0; s < method.steps_of(P) && bad.empty(); ++s)
    for (std::size_t t = 0; t < method.tensors.size(); ++t) {
      auto const at = static_cast<std::size_t>(s);
      for (auto const& d : ranks) {
        if (!same_bits(d.pages[at][t].update, ranks[0].pages[at][t].update)) bad = "replicas differ";
        for (auto const v : d.pages[at][t].update)
          if (!std::isfinite(v)) bad = "an update is not finite";
      }
      if (method.law == memory_law::none || method.law == memory_law::fading || method.loses_mass) continue;
      double const violation = law_violation(method, ranks, s, t);
      if (!(violation < (method.sums_narrow ? 0.05 : 4e-6)))
        bad = "the memory's law is broken by " + std::to_string(violation) + " in step " + std::to_string(s) +
              ", tensor " + method.tensors[t].name;
    }
  for (int r = 0; r < P && bad.empty() && method.fixed_size; ++r)
    for (auto const b : ranks[static_cast<std::size_t>(r)].bytes)
      if (auto const formula = method.bytes(P, r); method.bytes_at_most ? b > formula : b != formula)
        bad = "rank " + std::to_string(r) + " sent " + std::to_string(b) + " bytes, the formula says " +
              std::to_string(formula);
  CHECK(bad == "");
}

/// What a memory is driven through: a selector, signs, integers, factors and a shared support, at P = 1, 2, 3 and 5.
template <class F>
void check_memory(F const& f) {
  auto const check = [](auto const& method) {
    auto const described = describe_composition(method);
    for (int const P : {1, 2, 3, 5}) check_composition(described, P);
  };
  check(compress_with(top_k{.density = 0.1}, f));
  check(compress_with(sign{.block = 64}, f));
  check(compress_with(stochastic_int{.bits = 4, .block = 64}, f));
  check(compress_with(low_rank{.rank = 2, .minimum_rate = 0}, f));
  check(compress_with(random_block{.density = 0.1}, f));
}

// ---- the table -----------------------------------------------------------------------------------------------------

/// Sanitizers slow threads down by a factor of ten, and see with few ranks what they see with many.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr int worlds[] = {1, 2, 3, 5};
#else
inline constexpr int worlds[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 17};
#endif

struct tally {
  int legal = 0, refused = 0;
};

/// The step of a tensor is the same code whichever of these carries its messages: compiled once for all of them.
using any_way =
    way_of<all_reduce, all_gather, gtop_k, gather_top_k, recursive_doubling, split_all_gather, split_dense<bf16>>;

template <class Pr, class S, class Q, class F, class X>
void check_if_legal(Pr p, S s, Q q, F f, X x, tally& count) {
  using resolved = resolved_exchange<X, kind_of<Pr, S, Q>, remembers<F>>;
  if constexpr (resolved::accepts(kind_of<Pr, S, Q>)) {
    ++count.legal;
    auto const literal = compress_with(x, f, q, s, p);
    auto method = facts_of(literal);
    if constexpr (std::constructible_from<any_way, X const&>)
      method.add = adds(compress_with(any_way{x}, f, q, s, p));
    else
      method.add = adds(literal);
    for (int const P : worlds) check_composition(method, P);
  } else {
    ++count.refused;
  }
}
template <class Pr, class S, class Q, class F>
void check_exchanges(Pr p, S s, Q q, F f, tally& count) {
  check_if_legal(p, s, q, f, all_reduce{}, count);
  check_if_legal(p, s, q, f, all_gather{}, count);
  check_if_legal(p, s, q, f, scatter_reduce{}, count);
  check_if_legal(p, s, q, f, gtop_k{}, count);
  check_if_legal(p, s, q, f, gather_top_k{}, count);
  check_if_legal(p, s, q, f, recursive_doubling{}, count);
  check_if_legal(p, s, q, f, split_all_gather{}, count);
  check_if_legal(p, s, q, f, split_dense{bf16{}}, count);
  check_if_legal(p, s, q, f, ok_top_k{.period = 4, .rebalance = 3}, count);
  if constexpr (gtop_k::accepts(kind_of<Pr, S, Q>))
    check_if_legal(p, s, q, f, gtop_k{.dropped = put_back::published}, count);
}
/// Exchanges that round the mean once more, for whose loss the reducing rank's own memory answers.
template <class Pr, class S, class Q, class X>
void check_served(Pr p, S s, Q q, X x, tally& count) {
  check_if_legal(p, s, q, error_feedback{}, x, count);
  check_if_legal(p, s, q, ef21{}, x, count);
}
/// Coded indices travel by all_gather and nowhere else.
template <class S, class Q, class I>
void check_coded(S s, Q q, I i, tally& count) {
  static_assert(kind_of<identity, S, Q, I>.combines == combination::nothing);
  static_assert(!gtop_k::accepts(kind_of<identity, S, Q, I>) && !scatter_reduce::accepts(kind_of<identity, S, Q, I>));
  auto const check = [&](auto f) {
    ++count.legal;
    auto const method = describe_composition(compress_with(i, s, q, f));
    for (int const P : worlds) check_composition(method, P);
  };
  check(no_feedback{});
  check(error_feedback{});
  check(ef21{});
}
template <class Pr, class S, class Q>
void check_feedbacks(Pr p, S s, Q q, tally& count) {
  check_exchanges(p, s, q, no_feedback{}, count);
  check_exchanges(p, s, q, error_feedback{}, count);
  check_exchanges(p, s, q, ef21{}, count);
}

}  // namespace gradpress::test
