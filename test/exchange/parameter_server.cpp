// SPDX-License-Identifier: Apache-2.0
#include <gradpress/exchange/parameter_server.hpp>

#include <gradpress/feedback/ef21.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/feedback/none.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/none.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/leader_top_k.hpp>
#include <gradpress/select/random_block.hpp>
#include <gradpress/select/random_k.hpp>

#include "../support/two_ways.hpp"

using namespace gradpress;
using namespace gradpress::test;

static_assert(exchange<parameter_server<>> && exchange<parameter_server<sign, error_feedback>>);
static_assert(!chunks_tensors<parameter_server<>> && !keeps_coefficients<parameter_server<>> &&
              keeps_coefficients<parameter_server<sign, error_feedback>>);
static_assert(parameter_server<>::accepts({}) && parameter_server<>::accepts({.fixed_size = false}) &&
              parameter_server<>::accepts({.combines = combination::sum, .agreed = true}) &&
              !parameter_server<>::accepts({.linear = false}) && !parameter_server<>::accepts(agreement_kind));

namespace {
/// Rank 1 sends indices that do not ascend.
struct confused {
  using family = family::selector;
  static constexpr std::string_view name = "confused";
  static constexpr support where = support::own;
  static constexpr bool fixed_size = true;
  [[nodiscard]] std::size_t max_kept(std::size_t n) const { return std::min<std::size_t>(n, 4); }
  template <class Exec>
  void select(step<Exec> const& ctx, in<Exec> x, selection<Exec>& kept) const {
    kept.count = max_kept(x.extent(0));
    for (index_t i = 0; i < kept.count; ++i) kept.indices(i) = ctx.rank == 1 ? 3 - i : i;
  }
};

/// The same policies, gathered by all and reduced at `root`: the same bits where the way down loses nothing.
template <class... P>
void check_as_gathered(std::size_t ranks, std::size_t n, P... policies) {
  auto const g = gradients_of(ranks, n);
  auto const gathered = average_once(g, compress_with(policies..., all_gather{}));
  int const root = static_cast<int>(ranks) / 2;
  auto const served = average_once(g, compress_with(policies..., parameter_server{.root = root}));
  CHECK(identical(served.updates[0], gathered.updates[0]));
  CHECK(served.memories == gathered.memories);
}
}  // namespace

TEST_CASE("exchange::parameter_server has the bits of a gather, whatever the messages are") {
  for (std::size_t P = 1; P <= 9; ++P)
    for (std::size_t const n : {1u, 33u, 200u}) {
      CAPTURE(P);
      CAPTURE(n);
      error_feedback const e;
      check_as_gathered(P, n);
      check_as_gathered(P, n, bf16{}, e);
      check_as_gathered(P, n, sign{.block = 32}, e);
      check_as_gathered(P, n, ternary{}, e);
      check_as_gathered(P, n, top_k{.density = 0.1}, e);
      check_as_gathered(P, n, top_k{.density = 0.1}, stochastic_int{.bits = 4}, ef21{});
      check_as_gathered(P, n, threshold{.tau = 0.3}, e);
      check_as_gathered(P, n, threshold{.tau = 0.3}, bf16{}, e);
      check_as_gathered(P, n, random_k{.density = 0.1}, e);
      check_as_gathered(P, n, random_block{.density = 0.2}, sign{.block = 32}, e);
      check_as_gathered(P, n, leader_top_k{.density = 0.1}, e);
    }
}

TEST_CASE("exchange::parameter_server: the root, too, uses what everyone decodes") {
  for (std::size_t const P : {1u, 2u, 5u}) {
    auto const g = gradients_of(P, 100);
    auto const method = [](auto x) { return compress_with(top_k{.density = 0.3}, error_feedback{}, x); };
    auto const exact = average_once(g, method(parameter_server{})).updates[0];
    auto const rounded = average_once(g, method(parameter_server{.down = bf16{}})).updates[0];
    CHECK(identical(rounded, round_trip_of(bf16{}, exact)));
  }
}

TEST_CASE("exchange::parameter_server: with a memory at the root nothing vanishes, in any step") {
  for (std::size_t P = 1; P <= 9; ++P)
    for (std::size_t const n : {1u, 65u, 500u}) {
      CAPTURE(P);
      CAPTURE(n);
      sign const s{.block = 32};
      int const root = static_cast<int>(P) - 1;
      auto const check = [&](auto const& method) {
        auto const steps = two_way_steps(P, n, 5, method);
        CHECK(lost_on_the_way(P, steps) < 1e-4);
        return steps;
      };
      auto const steps = check(compress_with(s, error_feedback{}, parameter_server{s, error_feedback{}, root}));
      for (std::size_t p = 0; p < P; ++p) CHECK(steps[0].owned[p] == (p + 1 == P ? n : 0));
      check(compress_with(top_k{.density = 0.1}, error_feedback{}, parameter_server{s, error_feedback{}, root}));
      check(compress_with(threshold{.tau = 0.3}, error_feedback{}, parameter_server{bf16{}, no_feedback{}, root}));
      check(compress_with(random_k{.density = 0.2}, error_feedback{}, parameter_server{s, error_feedback{}, 0}));
    }
}

TEST_CASE("exchange::parameter_server behind a projector of two rounds") {
  constexpr std::size_t P = 3;
  std::vector<floats> gathered(P), served(P), residuals(P);
  auto const average = [&](auto x, std::vector<floats>& updates) {
    auto const method = compress_with(low_rank{.rank = 2, .minimum_rate = 0}, error_feedback{}, x);
    run_ranks(P, [&](thread_communicator& c) {
      auto const p = static_cast<std::size_t>(c.rank());
      reducer r{gradpress::serial{}, c};
      auto const w = r.add("w", 20, 15, method);
      updates[p] = gradient_at(c.rank(), 0, 300);
      r.average(w, std::span(updates[p]));
      r.visit(w, [&](char const*, auto const& b) { residuals[p] = copied(b); });
    });
  };
  average(all_gather{}, gathered);
  average(parameter_server{.root = 1}, served);
  CHECK(served == gathered);
  average(parameter_server{.down = bf16{}, .root = 1}, served);  // the root's own memory takes the loss
  CHECK(served != gathered);
  for (std::size_t i = 0; i < 300; ++i) {
    double left = -3.0 * static_cast<double>(served[0][i]);
    for (std::size_t p = 0; p < P; ++p)
      left += static_cast<double>(gradient_at(static_cast<int>(p), 0, 300)[i]) - static_cast<double>(residuals[p][i]);
    CHECK(std::abs(left) < 1e-4);
  }
}

TEST_CASE("exchange::parameter_server: a rank with nothing to say costs a few bytes") {
  constexpr std::size_t n = 10000;
  std::vector<std::uint64_t> sent(4);
  run_ranks(4, [&](thread_communicator& c) {
    counting<thread_communicator&> comm{c};
    reducer r{gradpress::serial{}, comm};
    auto const w = r.add("w", n, compress_with(threshold{.tau = 0.5}, error_feedback{}, parameter_server{}));
    floats g(n, c.rank() == 3 ? 1.f : 0.f);
    r.average(w, std::span(g));
    sent[static_cast<std::size_t>(c.rank())] = comm.bytes() - r.stats().control_bytes;
    for (auto const x : g)
      if (x != 0.25f) throw std::runtime_error("not the mean");
  });
  CHECK(sent[0] == 32 + 4 * n);
  for (std::size_t p : {1u, 2u}) CHECK(sent[p] == 16 + 32 + 4 + 4);  // size, header, table, count
  CHECK(sent[3] == 16 + 32 + 4 + 4 + 8 * n);
}

TEST_CASE("exchange::parameter_server: what is counted is what is sent") {
  parameter_server const x{sign{}, error_feedback{}, 1};
  for (std::size_t P = 2; P <= 5; ++P) {
    check_counted_bytes(P, 300, compress_with(x), false);
    check_counted_bytes(P, 300, compress_with(top_k{.density = 0.1}, error_feedback{}, x), false);
    check_counted_bytes(P, 300, compress_with(threshold{.tau = 0.3}, error_feedback{}, x), false);
  }
}

TEST_CASE("exchange::parameter_server: several tensors travel in one message; any transport gives the same") {
  for (int P : {1, 2, 3, 5}) {
    std::vector<std::vector<floats>> native(static_cast<std::size_t>(P)), derived = native;
    auto const steps = [&](auto& comm, std::vector<std::vector<floats>>& out) {
      auto const p = static_cast<std::size_t>(comm.rank());
      reducer r{serial{}, comm};
      parameter_server const x{sign{.block = 32}, error_feedback{}, P - 1};
      auto const sums = compress_with(error_feedback{}, x), fixed = sums;
      auto const any = compress_with(threshold{.tau = 0.3}, error_feedback{}, x);
      std::vector<reducer<serial>::tensor> const t = {r.add("a", 300, sums), r.add("b", 300, any),
                                                      r.add("c", 41, fixed), r.add("d", 41, any)};
      if (r.lanes() != 2) throw std::runtime_error("tensors of one kind do not share a lane");
      for (int s = 0; s < 3; ++s) {
        std::vector<floats> g;
        for (std::size_t i = 0; i < t.size(); ++i)
          g.push_back(heavy_tailed(i < 2 ? 300 : 41, 100 * p + 10 * i + static_cast<std::size_t>(s)));
        for (std::size_t i = 0; i < t.size(); ++i) r.stage(t[i], std::span(g[i]));
        r.average();
        for (auto& v : g) out[p].push_back(std::move(v));
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

TEST_CASE("exchange::parameter_server: a rollback, a NaN and a checkpoint leave the root's memory as it was") {
  check_resumes(compress_with(sign{.block = 32}, error_feedback{}, parameter_server{sign{}, error_feedback{}, 0}));
  check_resumes(compress_with(threshold{.tau = 0.3}, error_feedback{}, parameter_server{bf16{}, error_feedback{}, 2}));
  // The rank that has the NaN is the root, and must add messages on a support that it has not drawn.
  check_resumes(
      compress_with(random_k{.density = 0.2}, error_feedback{}, parameter_server{sign{}, error_feedback{}, 1}));
}

TEST_CASE("exchange::parameter_server: a sum that overflows is an error on all ranks") {
  for (int root : {0, 1})
    CHECK_THROWS_AS(
        average_once({{3e38f, 1}, {3e38f, 1}}, compress_with(parameter_server{.down = bf16{}, .root = root})),
        non_finite_error);
}

TEST_CASE("exchange::parameter_server: any damaged byte is one error on all ranks, and nothing has changed") {
  for (int victim : {0, 1}) {
    parameter_server const x{bf16{}, error_feedback{}, 0};
    check_damage_of(compress_with(sign{.block = 32}, error_feedback{}, x), 3, victim);
    check_damage_of(compress_with(threshold{.tau = 0.3}, error_feedback{}, x), 3, victim);
  }
}

TEST_CASE("exchange::parameter_server: a message that is well sealed and wrong is an error on all ranks") {
  for (int root : {0, 1})
    CHECK_THROWS_AS(average_once(gradients_of(3, 50), compress_with(confused{}, parameter_server{.root = root})),
                    payload_error);
}

TEST_CASE("exchange::parameter_server checks its knobs and has a text form") {
  CHECK(describe(parameter_server{}) == "parameter_server(down=none,memory=none,root=0)");
  CHECK_THROWS_AS(parameter_server{.root = -1}.check(), configuration_error);
  run_ranks(2, [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    auto const refused = [](auto const& f) {
      try {
        f();
      } catch (configuration_error const&) {
        return;
      }
      throw std::runtime_error("nothing was refused");
    };
    refused([&] { r.add("x", 5, compress_with(parameter_server{.root = 2})); });
    auto const a = r.add("a", 5, compress_with(parameter_server{sign{}, error_feedback{}, 0})),
               b = r.add("b", 5, compress_with(parameter_server{}));
    refused([&] { r.set(a, "root", 1); });  // its memory lives elsewhere
    refused([&] { r.set(b, "root", 2); });
    r.set(b, "root", 1);
    floats x(5, 1.f), y(5, static_cast<float>(c.rank()));
    r.stage(a, std::span(x)), r.stage(b, std::span(y));
    r.average();
    if (y[0] != 0.5f) throw std::runtime_error("not the mean");
  });
}
