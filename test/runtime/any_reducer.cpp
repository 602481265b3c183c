// SPDX-License-Identifier: Apache-2.0
#include <gradpress/runtime/any_reducer.hpp>

#include <gradpress/communicate/self.hpp>
#include <gradpress/communicate/threads.hpp>

#include <doctest/doctest.h>

using namespace gradpress;

namespace {
self_communicator alone;
std::string refusal(std::string const& text) {
  try {
    any_reducer r{gradpress::serial{}, alone, text};
  } catch (configuration_error const& e) {
    return e.what();
  }
  return "accepted";
}
bool has(std::string const& text, std::string const& part) {
  if (text.find(part) != std::string::npos) return true;
  MESSAGE(text);
  return false;
}
std::string method_of(std::string const& text) {
  any_reducer r{gradpress::serial{}, alone, text};
  return r.method(r.add("w", 100, 1));
}
}  // namespace

TEST_CASE("runtime: a text is the composition it names, knobs by position, by name, in any order") {
  CHECK(method_of("dense") == "identity|all|none|none|all_reduce");
  CHECK(method_of("top_k(0.05) | error_feedback") == "identity|top_k(density=0.05)|none|error_feedback|all_gather");
  CHECK(method_of(" error_feedback|top_k( density = 0.05 )|gtop_k(published)") ==
        "identity|top_k(density=0.05)|none|error_feedback|gtop_k(dropped=published)");
  CHECK(method_of("top_k(0.05) | error_feedback | ok_top_k(16, rebalance=8)") ==
        "identity|top_k(density=0.05)|none|error_feedback|ok_top_k(period=16,rebalance=8)");
  CHECK(method_of("top_k(0.05) | error_feedback | recursive_doubling") ==
        "identity|top_k(density=0.05)|none|error_feedback|recursive_doubling");
  CHECK(method_of("top_k(0.05) | error_feedback | automatic") ==
        "identity|top_k(density=0.05)|none|error_feedback|automatic");
  CHECK(method_of("stochastic_int(4, mode=nearest)|error_feedback") ==
        "identity|all|stochastic_int(bits=4,block=1024,mode=nearest)|error_feedback|all_gather");
  CHECK(method_of("low_rank(rank=3) | log(bits=4) | error_feedback") ==
        "low_rank(rank=3)|all|log(alpha=10,bits=4)|error_feedback|all_gather");
  CHECK(method_of("alternating_low_rank(4) | error_feedback") ==
        "alternating_low_rank(rank=4)|all|none|error_feedback|all_reduce");
  CHECK(method_of("random_k(0.5, true) | error_feedback") ==
        "identity|random_k(density=0.5,scaled=true)|none|error_feedback|all_reduce");
  CHECK(method_of("random_k(scaled=false) | error_feedback") ==
        "identity|random_k(density=0.01,scaled=false)|none|error_feedback|all_reduce");
  CHECK(method_of("adacomp(50) | error_feedback") ==
        "identity|adacomp(bin=50)|one_magnitude|error_feedback|all_gather");  // a selector's own code
}

TEST_CASE("runtime: memories, votes, servers and predictions have a text, and recipes are what they name") {
  CHECK(method_of("top_k | ef21_sgdm(0.2)") == ef21_sgdm_top_k(0.01, 0.2).text());
  CHECK(method_of("stochastic_int(4) | diana(0.3)") == diana_qsgd(4, 0.3).text());
  CHECK(method_of("stochastic_int(4) | loco(0.5) | scatter_reduce") == loco_int4(0.5).text());
  CHECK(method_of("sampled_top_k(0.001) | momentum_correction") == deep_gradient_compression().text());
  CHECK(method_of("top_k(0.1) | momentum_correction(0.5, nesterov=true, masking=false)") ==
        "identity|top_k(density=0.1)|none|momentum_correction(momentum=0.5,nesterov=true,clip=0,masking=false)|"
        "all_gather");
  CHECK(method_of("sign_bits | majority_vote") == sign_sgd().text());
  CHECK(method_of("sign_bits | local_momentum(0.8) | majority_vote") == signum_vote(0.8).text());
  CHECK(method_of("sign | error_feedback | two_sided") == dist_ef_sign_sgd().text());
  CHECK(method_of("sign | error_feedback(decay=0.9, units=model)") ==
        "identity|all|sign(block=1024)|error_feedback(decay=0.9,units=model)|all_gather");
  CHECK(method_of("top_k(0.1) | error_feedback | parameter_server(root=0)") ==
        compress_with(top_k{.density = 0.1}, error_feedback{}, parameter_server{}).text());
  CHECK(method_of("temporal_prediction(2, 0.3) | stochastic_int(8)") ==
        predictive(compress_with(stochastic_int{.bits = 8}), {.order = 2, .threshold = 0.3}).text());
  CHECK(method_of("ef21_plus | top_k(0.1)") == ef21_plus(compress_with(top_k{.density = 0.1})).text());
  CHECK(has(refusal("temporal_prediction(9) | stochastic_int"), "order must lie in [1, 8]"));
}

TEST_CASE("runtime: the text form gives the same bits as the composition in code") {
  run_ranks(3, [](thread_communicator& c) {
    any_reducer a{gradpress::serial{}, c, "top_k(0.1) | stochastic_int(bits=8) | error_feedback", {.seed = 4}};
    reducer b{gradpress::serial{}, c, {.seed = 4}};
    auto const ta = a.add("w", 500);
    auto const tb =
        b.add("w", 500, 1, compress_with(top_k{.density = 0.1}, stochastic_int{.bits = 8}, error_feedback{}));
    for (int s = 0; s < 3; ++s) {
      std::vector<float> x(500), y;
      for (std::size_t i = 0; i < x.size(); ++i)
        x[i] = key{static_cast<std::uint64_t>(s * 10 + c.rank())}.uniform(i) - 0.5f;
      y = x;
      a.average(ta, std::span(x));
      b.average(tb, std::span(y));
      if (x != y) throw std::runtime_error("the text form differs");
    }
  });
}

TEST_CASE("runtime: a tensor of any number of dimensions has the method of the text, or its own") {
  any_reducer r{gradpress::serial{}, alone, "low_rank | error_feedback"};
  auto const w = r.add("w", {8, 5, 3, 3}), b = r.add("b", {8}, "dense");
  CHECK(r.method(w) == power_sgd().text());
  CHECK(r.method(b) == compress_with().text());
  std::vector<float> g(360), h(8);
  r.stage(w, std::span(g)), r.stage(b, std::span(h));
  CHECK_NOTHROW(r.average());
}

TEST_CASE("runtime: a wrong text is one clear error") {
  CHECK(has(refusal(""), "nothing between two '|'"));
  CHECK(has(refusal("top_k |"), "nothing between two '|'"));
  CHECK(has(refusal("top_k(0.1 | error_feedback"), "the parentheses of 'top_k' do not match"));
  CHECK(has(refusal("top_k() | error_feedback"), "a value of 'top_k' is empty"));
  CHECK(has(refusal("Top-K"), "does not begin with a policy's name"));
  CHECK(has(refusal("top_k | top_k"), "'top_k' stands there twice"));
  CHECK(has(refusal("topk(0.1) | error_feedback"), "names what the catalogue lacks: 'topk'"));
  CHECK(has(refusal("ternary | error_feedback"),
            "is not in the catalogue; it has: dense, bf16, fp16, bf16 | error_feedback,"));
  CHECK(has(refusal("top_k(many) | error_feedback"),
            "gradpress: top_k: 'many' is not a value for knob number 1; its knobs are: density"));
  CHECK(has(refusal("random_k(0.1, maybe) | error_feedback"), "'maybe' is not a value for knob number 2"));
  CHECK(has(refusal("top_k(0.1, 3) | error_feedback"), "there is no knob for value number 2"));
  CHECK(has(refusal("top_k(k=3) | error_feedback"), "there is no knob 'k'; its knobs are: density"));
  CHECK(has(refusal("top_k(7) | error_feedback"), "density must lie in (0, 1]"));
  CHECK(has(refusal("top_k | error_feedback | ok_top_k(period=0)"), "period and rebalance must be at least 1"));
  CHECK(has(refusal("stochastic_int(bits=5)"), "bits must be 8, 4 or 2"));
}
