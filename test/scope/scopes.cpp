// SPDX-License-Identifier: Apache-2.0
#include <gradpress/scope/scopes.hpp>

#include <gradpress/communicate/self.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/reducer.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>

#include <doctest/doctest.h>

#include <numeric>
#include <string>

using namespace gradpress;

static_assert(scope<per_tensor> && scope<per_bucket> && scope<per_model>);
static_assert(!scope<top_k> && !scope<int>);

namespace {
using sizes = std::vector<std::size_t>;
using host_reducer = reducer<gradpress::serial>;
using parts = std::vector<host_reducer::part_of_group>;

parts const model = {{"conv", 10, 4}, {"bias", 4}, {"fc", 6, 10}, {"none", 0}, {"out", 30}};

std::vector<float> gradient(int rank, std::size_t tensor, std::size_t n) {
  std::vector<float> g(n);
  for (std::size_t i = 0; i < n; ++i)
    g[i] = (key{static_cast<std::uint64_t>(rank)}.with(tensor).uniform(i) - 0.5f) * static_cast<float>(1 + 3 * tensor);
  return g;
}
template <class Method, class Scope>
std::vector<std::vector<float>> averaged(int P, Method const& method, Scope const& of, std::size_t& messages) {
  std::vector<std::vector<float>> result;
  run_ranks(P, [&](thread_communicator& comm) {
    host_reducer r{gradpress::serial{}, comm};
    auto const t = r.add_all(model, method, of);
    std::vector<std::vector<float>> g;
    for (std::size_t i = 0; i < model.size(); ++i) g.push_back(gradient(comm.rank(), i, model[i].rows * model[i].cols));
    for (std::size_t i = 0; i < model.size(); ++i) r.stage(t[i], std::span(g[i]));
    r.average();
    if (comm.rank() != 0) return;
    result = g;
    messages = r.stats().messages;
  });
  return result;
}
std::size_t nonzeros(std::vector<std::vector<float>> const& all) {
  std::size_t m = 0;
  for (auto const& v : all)
    for (auto const x : v) m += x != 0;
  return m;
}
template <class F>
std::string message_of(F const& f) {
  try {
    f();
  } catch (configuration_error const& e) {
    return e.what();
  }
  return "";
}
}  // namespace

TEST_CASE("scopes cut a list of tensors into consecutive groups") {
  sizes const n = {40, 4, 60, 0, 30};
  CHECK(per_tensor{}.groups(n) == sizes{1, 1, 1, 1, 1});
  CHECK(per_model{}.groups(n) == sizes{5});
  CHECK(per_bucket{.elements = 1}.groups(n) == sizes{1, 1, 2, 1});  // a tensor without elements fits anywhere
  CHECK(per_bucket{.elements = 44}.groups(n) == sizes{2, 2, 1});
  CHECK(per_bucket{.elements = 103}.groups(n) == sizes{2, 3});
  CHECK(per_bucket{.elements = 104}.groups(n) == sizes{4, 1});
  CHECK(per_bucket{.elements = 1000}.groups(n) == sizes{5});
  CHECK(per_tensor{}.groups({}).empty());
  CHECK(per_bucket{}.groups({}).empty());
  CHECK(per_model{}.groups({}).empty());
  CHECK_THROWS_AS(static_cast<void>(per_bucket{.elements = 0}.groups(n)), configuration_error);
}

TEST_CASE("a scope is what one selection ranges over, for every selector") {
  std::size_t messages = 0;
  auto const by_top = compress_with(top_k{.density = 0.1});
  // 4 + 1 + 6 + 0 + 3 of the tensors, 4 + 9 of the buckets {conv, bias} and {fc, none, out}, 13 of 134.
  CHECK(nonzeros(averaged(1, by_top, per_tensor{}, messages)) == 14);
  CHECK(messages == 1);
  CHECK(nonzeros(averaged(1, by_top, per_bucket{.elements = 90}, messages)) == 13);
  CHECK(nonzeros(averaged(1, by_top, per_model{}, messages)) == 13);

  // One selection over all tensors: the 13 largest of the model, wherever they are.
  auto const whole = averaged(1, by_top, per_model{}, messages);
  std::vector<float> all, kept;
  for (std::size_t t = 0; t < model.size(); ++t) {
    auto const g = gradient(0, t, model[t].rows * model[t].cols);
    all.insert(all.end(), g.begin(), g.end());
    kept.insert(kept.end(), whole[t].begin(), whole[t].end());
  }
  std::vector<float> sorted = all;
  std::sort(sorted.begin(), sorted.end(), [](float a, float b) { return std::abs(a) > std::abs(b); });
  for (std::size_t i = 0; i < all.size(); ++i)
    CHECK(kept[i] == (std::abs(all[i]) >= std::abs(sorted[12]) ? all[i] : 0));

  auto const by_key = compress_with(random_k{.density = 0.1});
  CHECK(nonzeros(averaged(3, by_key, per_model{}, messages)) == 13);
  CHECK(nonzeros(averaged(3, by_key, per_tensor{}, messages)) == 14);
  // A threshold looks at entries one by one: its scope does not change what it keeps.
  auto const by_size = compress_with(threshold{.tau = 2}, error_feedback{});
  CHECK(averaged(3, by_size, per_model{}, messages) == averaged(3, by_size, per_tensor{}, messages));
}

TEST_CASE("add_all refuses what add refuses, and has then added nothing") {
  self_communicator alone;
  host_reducer r{gradpress::serial{}, alone};
  auto const method = compress_with(top_k{.density = 0.1});
  CHECK(message_of([&] {
          r.add_all({{"a", 4}, {"b", 4}, {"a", 4}}, method, per_bucket{.elements = 5});
        }).find("has the name 'a' twice") != std::string::npos);
  CHECK(message_of([&] {
          r.add_all({{"a", 4}, {"b", 4}}, compress_with(top_k{.density = 2}), per_model{});
        }).find("density") != std::string::npos);
  auto const t = r.add_all({{"a", 4}, {"b", 4}}, method, per_bucket{.elements = 8});
  CHECK(r.method(t[0]) == method.text());
  CHECK(message_of([&] { r.add("a..b", 4); }).find("'a..b' was added before") != std::string::npos);
  // Matrices stay matrices where nothing is grouped.
  CHECK_NOTHROW(r.add_all({{"m", 8, 4}, {"v", 3, 9}}, compress_with(low_rank{.rank = 2}), per_tensor{}));
}
