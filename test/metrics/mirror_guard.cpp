// SPDX-License-Identifier: Apache-2.0
#include <gradpress/metrics/mirror_guard.hpp>

#include <gradpress/communicate/self.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/feedback/diana.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/select/random_block.hpp>
#include <gradpress/select/top_k.hpp>

#include "../support/memories.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
constexpr std::size_t n = 50;

template <class Reducer>
buffer<gradpress::serial> piece(Reducer& r, typename Reducer::tensor w, std::string const& wanted) {
  buffer<gradpress::serial> found;
  r.visit(w, [&](char const* name, auto const& b) {
    if (name == wanted) found = b;
  });
  return found;
}
template <class Reducer>
floats trained(Reducer& r, typename Reducer::tensor w, int rank, int from, int to) {
  recollection of;
  train(r, w, rank, n, from, to, of);
  return of.updates.back();
}
}  // namespace

TEST_CASE("metrics::mirror_guard: looking changes no later bit, whatever the number of ranks") {
  for (int const P : {1, 2, 3, 5, 7}) {
    run_ranks(P, [](thread_communicator& c) {
      floats last[2];
      for (bool const looks : {false, true}) {
        reducer r{gradpress::serial{}, c};
        auto const w = r.add("w", n, 1, compress_with(random_block{.density = 0.1}, ef21{}));
        mirror_guard guard{r};
        if (looks) guard.add(w);
        for (int s = 0; s < 6; ++s) {
          last[looks] = trained(r, w, c.rank(), s, s + 1);
          if (looks) guard.check();
        }
        if (looks && guard.resync() > 1e-6) throw std::runtime_error("a healthy mirror is not the mean");
      }
      if (!identical(last[0], last[1])) throw std::runtime_error("a check has changed the training");
    });
  }
}

TEST_CASE("metrics::mirror_guard: a mirror that lost a message is found on all ranks, and mended") {
  run_ranks(3, [](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    auto const v = r.add("v", n, 1, compress_with(top_k{.density = 0.1}, diana{}));
    auto const w = r.add("w", n, 1, compress_with(top_k{.density = 0.1}, ef21{}));
    mirror_guard guard{r};
    guard.add(v), guard.add(w);
    trained(r, w, c.rank(), 0, 3);
    guard.check();
    auto const before = floats(piece(r, w, "mirror").data(), piece(r, w, "mirror").data() + n);
    if (c.rank() == 1) piece(r, w, "mirror")(7) += 0.5f;
    std::string why;
    try {
      guard.check();
    } catch (state_error const& e) {
      why = e.what();
    }
    if (why.find("tensor 'w': rank 1 holds another mirror") == std::string::npos ||
        why.find("'v'") != std::string::npos)
      throw std::runtime_error("not found, or not named: " + why);
    auto const drift = guard.resync();
    if ((c.rank() == 1) != (drift > 0.4)) throw std::runtime_error("the drift is " + std::to_string(drift));
    guard.check();
    for (std::size_t i = 0; i < n; ++i)
      if (std::abs(piece(r, w, "mirror")(i) - before[i]) > 1e-6f) throw std::runtime_error("not what it was");
    trained(r, w, c.rank(), 3, 5);
    guard.check();
  });
}

TEST_CASE("metrics::mirror_guard: what a rank keeps may be damaged, too; the mirrors follow it") {
  run_ranks(4, [](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", n, 1, compress_with(top_k{.density = 0.1}, ef21{}));
    mirror_guard guard{r};
    guard.add(w);
    trained(r, w, c.rank(), 0, 3);
    if (c.rank() == 2) piece(r, w, "mine")(3) += 4;
    guard.check();  // the mirrors are still alike
    auto const drift = guard.resync();
    if (std::abs(drift - 1) > 1e-5) throw std::runtime_error("the mean has moved by " + std::to_string(drift));
    guard.check();
  });
}

TEST_CASE("metrics::mirror_guard: other memories are refused, and the sentence says what has none") {
  self_communicator alone;
  reducer r{gradpress::serial{}, alone};
  auto const w = r.add("w", n, 1, compress_with(top_k{}, error_feedback{}));
  mirror_guard guard{r};
  try {
    guard.add(w);
    FAIL("was to throw");
  } catch (configuration_error const& e) {
    CHECK(std::string(e.what()).find("tensor 'w': mirror_guard watches mirrored memories") != std::string::npos);
    CHECK(std::string(e.what()).find("error_feedback") != std::string::npos);
  }
  CHECK_NOTHROW(guard.check());  // watches nothing
}
