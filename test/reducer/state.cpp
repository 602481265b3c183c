// SPDX-License-Identifier: Apache-2.0
#include <gradpress/reducer.hpp>

#include <gradpress/communicate/self.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/feedback/loco.hpp>
#include <gradpress/project/refreshed_low_rank.hpp>
#include <gradpress/recipes.hpp>
#include <gradpress/select/random_k.hpp>

#include <doctest/doctest.h>

#include <sstream>

using namespace gradpress;

namespace {
constexpr int P = 3;
struct names {
  std::vector<std::string> order;
};

/// Trains steps [from, to) and appends every update.
void train(reducer<gradpress::serial>& r, std::vector<reducer<gradpress::serial>::tensor> const& handles, int rank,
           int from, int to, std::vector<float>& log) {
  for (int s = from; s < to; ++s) {
    std::vector<std::vector<float>> g(handles.size(), std::vector<float>(600));
    for (std::size_t t = 0; t < g.size(); ++t)
      for (std::size_t i = 0; i < 600; ++i)
        g[t][i] = key{static_cast<std::uint64_t>(s)}.with(static_cast<std::uint64_t>(rank)).with(t).uniform(i) - 0.5f;
    for (std::size_t t = 0; t < g.size(); ++t) r.stage(handles[t], std::span(g[t]));
    r.average();
    for (auto const& v : g) log.insert(log.end(), v.begin(), v.end());
  }
}
/// Handles of the same four tensors, whatever order they are registered in.
std::vector<reducer<gradpress::serial>::tensor> add_all(reducer<gradpress::serial>& r, bool backwards) {
  std::vector<reducer<gradpress::serial>::tensor> h(4);
  auto const one = [&](int i) {
    if (i == 0) h[0] = r.add("topk", 600, 1, gtop_k_sgd(0.02));
    if (i == 1) h[1] = r.add("powersgd", 30, 20, power_sgd(2));
    if (i == 2) h[2] = r.add("ef21", 600, 1, compress_with(random_k{.density = 0.1}, ef21{}));
    if (i == 3) h[3] = r.add("sign", 600, 1, ef_sign_sgd());
  };
  for (int i = 0; i < 4; ++i) one(backwards ? 3 - i : i);
  return h;
}
}  // namespace

TEST_CASE("reducer: policies of one method may keep fields of the same name") {
  self_communicator alone;
  auto const method = compress_with(refreshed_low_rank{.rank = 2, .every = 3}, loco{.reset_every = 4});
  reducer a{gradpress::serial{}, alone}, b{gradpress::serial{}, alone};
  std::vector const ha{a.add("w", 30, 20, method)}, hb{b.add("w", 30, 20, method)};
  std::vector<float> ignored, through, resumed;
  train(a, ha, 0, 0, 2, ignored);
  std::stringstream file;
  a.save(file);
  CHECK(file.str().find("loco.age") != std::string::npos);
  train(a, ha, 0, 2, 8, through);  // over a refresh and a reset, which come at different ages
  b.load(file);
  train(b, hb, 0, 2, 8, resumed);
  CHECK(resumed == through);
}

TEST_CASE("reducer: save, load and go on equals never having stopped, bit for bit, in any registration order") {
  run_ranks(P, [](thread_communicator& c) {
    std::vector<float> through, resumed;
    reducer<gradpress::serial> a{gradpress::serial{}, c, {.seed = 9}};
    auto const ha = add_all(a, false);
    train(a, ha, c.rank(), 0, 5, through);
    std::stringstream file;
    a.save(file);
    through.clear();
    train(a, ha, c.rank(), 5, 10, through);
    reducer<gradpress::serial> b{gradpress::serial{}, c, {.seed = 9}};
    auto const hb = add_all(b, true);
    b.load(file);
    if (b.step_number() != 5) throw std::runtime_error("wrong step number");
    train(b, hb, c.rank(), 5, 10, resumed);
    if (std::memcmp(through.data(), resumed.data(), 4 * through.size()) != 0)
      throw std::runtime_error("resumed differently");
  });
}

TEST_CASE("reducer: rollback takes a step back, bit for bit, once") {
  run_ranks(P, [](thread_communicator& c) {
    std::vector<float> straight, detour, ignored;
    reducer<gradpress::serial> a{gradpress::serial{}, c, {.seed = 9}}, b{gradpress::serial{}, c, {.seed = 9}};
    auto const ha = add_all(a, false), hb = add_all(b, false);
    train(a, ha, c.rank(), 0, 6, straight);
    train(b, hb, c.rank(), 0, 3, detour);
    train(b, hb, c.rank(), 77, 78, ignored);
    b.rollback();
    bool twice = true;
    try {
      b.rollback();
    } catch (state_error const&) {
      twice = false;
    }
    train(b, hb, c.rank(), 3, 6, detour);
    if (twice) throw std::runtime_error("rolled back twice");
    if (std::memcmp(straight.data(), detour.data(), 4 * straight.size()) != 0)
      throw std::runtime_error("rolled back differently");
  });
}

TEST_CASE("reducer: checkpoints that do not fit are refused, naming tensor and remedy, and change nothing") {
  self_communicator alone;
  reducer a{gradpress::serial{}, alone, {.seed = 1}};
  auto const w = a.add("w", 20, 1, top_k_sgd(0.1));
  std::vector<float> g(20, 1.f);
  a.average(w, std::span(g));
  std::stringstream file;
  a.save(file);
  auto const bytes = file.str();
  auto const refusal = [](auto& r, std::string const& text, char const* tensor = "w") {
    std::vector<float> before, after;
    auto const look = [](std::vector<float>& to) {
      return [&to](char const*, auto b) { to.insert(to.end(), b.data(), b.data() + b.extent(0)); };
    };
    r.visit(r.find(tensor), look(before));
    std::istringstream in(text);
    std::string what = "accepted";
    try {
      r.load(in);
    } catch (state_error const& e) {
      what = e.what();
    }
    r.visit(r.find(tensor), look(after));
    CHECK(before == after);
    return what;
  };
  SUBCASE("another shape") {
    reducer b{gradpress::serial{}, alone, {.seed = 1}};
    b.add("w", 21, 1, top_k_sgd(0.1));
    CHECK(refusal(b, bytes).find("tensor 'w': has 21 values of 'residual' here and 20 in the checkpoint") !=
          std::string::npos);
  }
  SUBCASE("a file that is not there") {
    reducer b{gradpress::serial{}, alone, {.seed = 1}};
    b.add("w", 20, top_k_sgd(0.1));  // without its one column
    CHECK(refusal(b, "").find("nothing could be read of the checkpoint; see that the file exists") !=
          std::string::npos);
    std::istringstream good(bytes);
    CHECK_NOTHROW(b.load(good));
  }
  SUBCASE("another method") {
    reducer b{gradpress::serial{}, alone, {.seed = 1}};
    b.add("w", 20, 1, ef_sign_sgd());
    CHECK(refusal(b, bytes).find("tensor 'w': was saved by identity|top_k(density=0.1)|none|error_feedback|all_gather "
                                 "and is now identity|all|sign") != std::string::npos);
  }
  SUBCASE("another name") {
    reducer b{gradpress::serial{}, alone, {.seed = 1}};
    b.add("v", 20, 1, top_k_sgd(0.1));
    CHECK(refusal(b, bytes, "v").find("tensor 'w': is in the checkpoint and not in this reducer") != std::string::npos);
  }
  SUBCASE("one tensor more") {
    reducer b{gradpress::serial{}, alone, {.seed = 1}};
    b.add("w", 20, 1, top_k_sgd(0.1));
    b.add("new", 20, 1, top_k_sgd(0.1));
    CHECK(refusal(b, bytes).find("tensor 'new': has state 'residual' that is not in the checkpoint") !=
          std::string::npos);
  }
  SUBCASE("another seed") {
    reducer b{gradpress::serial{}, alone, {.seed = 2}};
    b.add("w", 20, 1, top_k_sgd(0.1));
    CHECK(refusal(b, bytes).find("seed 1, this reducer has 2") != std::string::npos);
  }
  SUBCASE("every truncation and every flipped byte") {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      CHECK(refusal(a, bytes.substr(0, i)) != "accepted");
      auto damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ 4);
      CHECK(refusal(a, damaged) != "accepted");
    }
  }
  SUBCASE("no such tensor, and one of another reducer") {
    reducer b{gradpress::serial{}, alone};
    auto const v = b.add("v", 20);
    CHECK(b.name(b.find("v")) == "v");
    CHECK_THROWS_WITH_AS(static_cast<void>(b.find("u")),
                         "gradpress: rank 0: there is no tensor 'u' in this reducer; add it first",
                         configuration_error);
    char const* const foreign =
        "gradpress: rank 0: a tensor was named that this reducer does not know; use what its own add returned";
    CHECK_THROWS_WITH_AS(b.set(w, "density", 0.5), foreign, configuration_error);
    CHECK_THROWS_WITH_AS(static_cast<void>(b.method(w)), foreign, configuration_error);
    CHECK_THROWS_WITH_AS(static_cast<void>(b.method({})), foreign, configuration_error);
    std::vector<float> x(20, 1.f);
    b.stage(v, std::span(x));
    b.stage(w, std::span(g));
    CHECK_THROWS_AS(b.average(), configuration_error);
    b.average(v, std::span(x));
    CHECK(x[19] == 1.f);
  }
  SUBCASE("another world") {
    thread_group group(2);
    thread_communicator one(group, 0);
    reducer b{gradpress::serial{}, one, {.seed = 1}};
    b.add("w", 20, 1, top_k_sgd(0.1));
    CHECK(refusal(b, bytes).find("of 1 ranks, this world has 2") != std::string::npos);
  }
}
