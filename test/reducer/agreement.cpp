// SPDX-License-Identifier: Apache-2.0
#include <gradpress/reducer.hpp>

#include <gradpress/communicate/threads.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/top_k.hpp>

#include <doctest/doctest.h>

#include <functional>
#include <mutex>

using namespace gradpress;

namespace {
using reducer_type = reducer<gradpress::serial>;

/// Runs `body` on every rank; every rank must get a configuration_error with the same text, and its gradient back as it
/// was. Returns the text.
std::string agreed_error(int P, std::function<void(thread_communicator&, std::vector<float>&)> const& body) {
  std::mutex mutex;
  std::vector<std::string> texts;
  run_ranks(P, [&](thread_communicator& comm) {
    std::vector<float> g(12, static_cast<float>(comm.rank() + 1));
    auto const before = g;
    std::string text = "no error";
    try {
      body(comm, g);
    } catch (configuration_error const& e) {
      text = e.what();
    }
    std::lock_guard const lock(mutex);
    texts.push_back(g == before ? text : "the gradient changed");
  });
  for (auto const& t : texts) CHECK(t == texts[0]);
  return texts[0];
}
bool has(std::string const& text, std::string const& part) {
  if (text.find(part) != std::string::npos) return true;
  MESSAGE(text);
  return false;
}
auto const sparse = compress_with(top_k{.density = 0.5}, error_feedback{});
}  // namespace

TEST_CASE("reducer: ranks agree before the first byte") {
  auto const odd = [](thread_communicator& c) { return c.rank() == 2; };
  SUBCASE("seed") {
    auto const text = agreed_error(4, [&](auto& c, auto& g) {
      reducer r{gradpress::serial{}, c, {.seed = odd(c) ? 8u : 7u}};
      r.average(r.add("w", 12), std::span(g));
    });
    CHECK(has(text, "seed of rank 2"));
  }
  SUBCASE("name") {
    auto const text = agreed_error(4, [&](auto& c, auto& g) {
      reducer r{gradpress::serial{}, c};
      r.average(r.add(odd(c) ? "fc2.weight" : "fc1.weight", 12), std::span(g));
    });
    CHECK(has(text, "tensor names of rank 2"));
    CHECK(has(
        text,
        "rank 0 has staged 'fc1.weight' 12 x 1 by identity|all|none|none|all_reduce, rank 2 has staged 'fc2.weight'"));
  }
  SUBCASE("shape") {
    auto const text = agreed_error(4, [&](auto& c, auto& g) {
      reducer r{gradpress::serial{}, c};
      r.average(odd(c) ? r.add("w", 4, 3) : r.add("w", 3, 4), std::span(g));
    });
    CHECK(has(text, "shapes of rank 2"));
    CHECK(has(text, "rank 2 has staged 'w' 4 x 3"));
  }
  SUBCASE("method") {
    auto const text = agreed_error(4, [&](auto& c, auto& g) {
      reducer r{gradpress::serial{}, c};
      r.average(odd(c) ? r.add("w", 12) : r.add("w", 12, 1, sparse), std::span(g));
    });
    CHECK(has(text, "methods of rank 2"));
  }
  SUBCASE("a knob") {
    auto const text = agreed_error(4, [&](auto& c, auto& g) {
      reducer r{gradpress::serial{}, c};
      r.average(r.add("w", 12, 1, compress_with(top_k{.density = odd(c) ? 0.25 : 0.5})), std::span(g));
    });
    CHECK(has(text, "top_k(density=0.25)"));
  }
  SUBCASE("number of tensors") {
    auto const text = agreed_error(4, [&](auto& c, auto& g) {
      reducer r{gradpress::serial{}, c};
      auto const w = r.add("w", 12);
      if (odd(c)) r.add("x", 12);
      r.average(w, std::span(g));
    });
    CHECK(has(text, "rank 0 has nothing, rank 2 has unstaged 'x'"));
  }
  SUBCASE("staged tensors") {
    auto const text = agreed_error(4, [&](auto& c, auto& g) {
      reducer r{gradpress::serial{}, c};
      auto const w = r.add("w", 12), x = r.add("x", 12);
      r.average(odd(c) ? x : w, std::span(g));
    });
    CHECK(has(text, "staged tensors of rank 2"));
  }
  SUBCASE("step number, after a rollback on one rank alone") {
    auto const text = agreed_error(4, [&](auto& c, auto& g) {
      reducer r{gradpress::serial{}, c};
      auto const w = r.add("w", 12);
      auto other = g;
      r.average(w, std::span(other));
      if (odd(c)) r.rollback();
      r.average(w, std::span(g));
    });
    CHECK(has(text, "step number of rank 2"));
  }
  SUBCASE("wrong size on one rank") {
    auto const text = agreed_error(4, [&](auto& c, auto& g) {
      reducer r{gradpress::serial{}, c};
      r.average(r.add("w", 12), odd(c) ? std::span(g).first(11) : std::span(g));
    });
    CHECK(has(text, "rank 2: tensor 'w': the gradient has 11 elements where 12 were registered"));
  }
  SUBCASE("staged twice on one rank") {
    auto const text = agreed_error(4, [&](auto& c, auto& g) {
      reducer r{gradpress::serial{}, c};
      auto const w = r.add("w", 12);
      if (odd(c)) r.stage(w, std::span(g));
      r.average(w, std::span(g));
    });
    CHECK(has(text, "rank 2: tensor 'w': it was staged twice"));
  }
  SUBCASE("a null pointer on one rank") {
    auto const text = agreed_error(4, [&](auto& c, auto& g) {
      reducer r{gradpress::serial{}, c};
      r.average(r.add("w", 12), odd(c) ? nullptr : g.data());
    });
    CHECK(has(text, "rank 2: tensor 'w': the gradient is a null pointer"));
  }
}

TEST_CASE("reducer: after an error the same reducer goes on as if nothing had happened") {
  run_ranks(3, [](thread_communicator& c) {
    reducer r{gradpress::serial{}, c};
    auto const w = r.add("w", 12, 1, sparse), x = r.add("x", 12, 1, sparse);
    std::vector<float> g(12, 1.f), h(12, 2.f);
    bool refused = false;
    try {
      r.average(c.rank() == 1 ? x : w, std::span(g));
    } catch (configuration_error const&) {
      refused = true;
    }
    if (!refused) throw std::runtime_error("not refused");
    r.stage(w, std::span(g));
    r.stage(x, std::span(h));
    r.average();
    if (r.step_number() != 1 || g[0] != 1.f || h[5] != 2.f || h[11] != 0.f)
      throw std::runtime_error("the step after the error is wrong");
  });
}

TEST_CASE("reducer: registration may be in any order, and a name only once") {
  run_ranks(4, [](thread_communicator& c) {
    reducer_type r{gradpress::serial{}, c};
    std::vector<float> a(12, static_cast<float>(c.rank())), b(5, 1.f);
    reducer_type::tensor ta, tb;
    if (c.rank() % 2 == 0)
      ta = r.add("a", 12), tb = r.add("b", 5);
    else
      tb = r.add("b", 5), ta = r.add("a", 12);
    r.stage(tb, std::span(b));
    r.stage(ta, std::span(a));
    r.average();
    if (a[3] != 1.5f || b[4] != 1.f) throw std::runtime_error("wrong mean");
  });
  thread_group group(1);
  thread_communicator alone(group, 0);
  reducer r{gradpress::serial{}, alone};
  r.add("w", 3);
  CHECK_THROWS_WITH_AS(r.add("w", 4),
                       "gradpress: rank 0: tensor 'w' was added before; names key the state and must be unique",
                       configuration_error);
  CHECK_THROWS_WITH_AS(r.add("v", 3, 1, compress_with(top_k{.density = 0})),
                       "gradpress: rank 0: tensor 'v' top_k: density must lie in (0, 1], it is 0.000000",
                       configuration_error);
  CHECK_THROWS_AS(r.add("huge", 1u << 20, 1u << 12), configuration_error);
}

TEST_CASE("reducer: codes that would wrap are refused before anything is sent") {
  struct many {
    int rank() const { return 0; }
    int size() const { return 128; }
    void all_gather(std::span<std::byte const>, std::span<std::byte>) const {
      throw std::runtime_error("nothing should be sent");
    }
  };
  reducer r{gradpress::serial{}, many{}};
  CHECK_NOTHROW(r.add("w16", 8, 1, compress_with(ternary{})));
  CHECK_THROWS_WITH_AS(r.add("w8", 8, 1, compress_with(ternary8{})),
                       "gradpress: rank 0: tensor 'w8' sums codes that wrap beyond 127 ranks; use a wider counter type",
                       configuration_error);
}
