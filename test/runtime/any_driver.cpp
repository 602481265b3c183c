// SPDX-License-Identifier: Apache-2.0
#include <gradpress/runtime/any_driver.hpp>

#include <gradpress/schedule/piecewise.hpp>

#include "../support/training.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
constexpr std::size_t n = 256;
/// A small catalogue: what is tested is the same by any.
using few = catalogue<composition_of<random_block, error_feedback>, composition_of<top_k, error_feedback>,
                      composition_of<top_k, momentum_correction>, composition_of<top_k, ef21>,
                      composition_of<sign_bits, majority_vote>, composition_of<stochastic_int>,
                      composition_of<temporal_prediction, stochastic_int>>;
using few_reducer = any_reducer<gradpress::serial, few>;

/// By a text, for the loop of `program`.
struct spelt : any_driver<gradpress::serial, few> {
  using base = any_driver<gradpress::serial, few>;
  using base::add, base::base;
  parameter add(std::string name, shape dims, std::span<float> values, decltype(uncompressed) const&) {
    return base::add(std::move(name), dims, values, "dense");
  }
};

struct alone {
  self_communicator comm;
  few_reducer r{gradpress::serial{}, comm, "dense", {.seed = 3}};
};
template <class F>
std::string complaint(F const& f) {
  try {
    f();
  } catch (error const& e) {
    return e.what();
  }
  return "nothing";
}
std::string refusal(std::string const& text) {
  alone a;
  return complaint([&] { spelt d(a.r, text); });
}
bool says(std::string const& text, std::string const& part) {
  if (text.find(part) != std::string::npos) return true;
  MESSAGE(text);
  return false;
}
/// Where 7 steps of two ranks end, and the model there, by a driver that `make` makes.
template <class Make>
std::vector<floats> ends(Make const& make) {
  std::vector<floats> all(2);
  run_ranks(2, [&](thread_communicator& comm) {
    few_reducer r{gradpress::serial{}, comm, "dense", {.seed = 3}};
    program p(make(r), comm.rank(), n);
    for (int s = 0; s < 7; ++s) p.step();
    auto& mine = all[static_cast<std::size_t>(comm.rank())];
    mine = p.w;
    p.driver.model();
    mine.insert(mine.end(), p.w.begin(), p.w.end());
    mine.insert(mine.end(), p.b.begin(), p.b.end());
  });
  return all;
}
template <class M, class... C>
bool same_as_in_code(std::string const& text, M const& method, C const&... c) {
  auto const a = ends([&](few_reducer& r) { return spelt(r, text); });
  auto const b = ends([&](few_reducer& r) { return train_with(r, method, c...); });
  return identical(a[0], b[0]) && identical(a[1], b[1]);
}
}  // namespace

TEST_CASE("runtime::any_driver: the text form gives the same bits as the driver in code") {
  auto const block = compress_with(random_block{.density = 0.125}, error_feedback{});
  auto const top = compress_with(top_k{.density = 0.1}, error_feedback{});
  CHECK(same_as_in_code("sgd(0.05, momentum=0.5, nesterov=true) | top_k(0.1) | error_feedback",
                        sgd{.learning_rate = 0.05, .momentum = 0.5, .nesterov = true}, top));
  CHECK(same_as_in_code(" def( lambda=0.5,local_steps=2 )|error_feedback|random_block(0.125)",
                        def{.lambda = 0.5, .local_steps = 2}, block));
  CHECK(same_as_in_code("cser(reset_every=3) | random_block(0.125) | error_feedback ; top_k(0.1) | error_feedback",
                        cser{.reset_every = 3}, block, top));
  CHECK(same_as_in_code("signum(learning_rate=0.01) | sign_bits | majority_vote", signum{.learning_rate = 0.01},
                        compress_with(sign_bits{}, majority_vote{})));
  CHECK(same_as_in_code("dgc(momentum=0.5) | top_k(0.1) | momentum_correction(0.5)", dgc{.momentum = 0.5},
                        compress_with(top_k{.density = 0.1}, momentum_correction{.momentum = 0.5})));
  CHECK_FALSE(same_as_in_code("sgd(0.05) | top_k(0.2) | error_feedback", sgd{.learning_rate = 0.05}, top));
}

TEST_CASE("runtime::any_driver: methods around compressors train, by text and in code") {
  auto const around = predictive(compress_with(stochastic_int{.bits = 8}), {.order = 2, .threshold = 0.3});
  CHECK(same_as_in_code("sgd(0.05) | temporal_prediction(2, 0.3) | stochastic_int(8)", sgd{.learning_rate = 0.05},
                        around));
}

TEST_CASE("runtime::any_driver: every optimizer has a text, and its compressors may be by text alone") {
  for (std::string const text : {"sgd | top_k | ef21", "def | top_k | error_feedback", "def_a | top_k | error_feedback",
                                 "saef(average_every=2) | top_k | error_feedback",
                                 "cser | top_k | error_feedback ; random_block | error_feedback", "cser | dense",
                                 "dist_ef_sgd | top_k | error_feedback", "dgc | top_k | momentum_correction",
                                 "marina | stochastic_int", "signum | dense"}) {
    alone a;
    program p(spelt(a.r, text), 0, n);
    for (int s = 0; s < 3; ++s) p.step();
    CHECK(p.driver.step() == 3);
    CHECK(says(p.driver.method(), text.substr(0, text.find_first_of("( |")) + "(learning_rate="));
  }
  auto const by = [](few_reducer& r) { return method_by_text{r, "top_k(0.1) | error_feedback"}; };
  auto const half = ends([&](few_reducer& r) { return train_with(r, sgd{}, by(r)); });
  CHECK(identical(half[0], ends([](few_reducer& r) { return spelt(r, "sgd | top_k(0.1) | error_feedback"); })[0]));
}

TEST_CASE("runtime::any_driver: parameters have methods of their own; knobs are set, followed, undone and skipped") {
  alone a;
  spelt d(a.r, "def(lambda=0.5) | top_k(0.1) | error_feedback");
  floats x(n), y(8), z(8), g(n);
  auto const w = d.add("w", {n}, std::span(x)), b = d.add("b", {8}, std::span(y), "dense");
  auto const v = d.add("v", {8}, std::span(z), "random_block(0.5) | error_feedback");
  CHECK(a.r.method(d.tensor(w)) == "identity|top_k(density=0.1)|none|error_feedback|all_gather");
  CHECK(a.r.method(d.tensor(b)) == compress_with().text());
  CHECK(says(a.r.method(d.tensor(v)), "random_block(density=0.5"));
  d.set("lambda", 0.25);
  d.follow("learning_rate", piecewise{{{0, 0.5}, {1, 0.25}}});
  CHECK(says(d.method(), "def(learning_rate=0.5,momentum=0.9,lambda=0.25"));
  d.skip();
  CHECK(d.next().sample == 1);
  for (auto const p : {w, b, v}) d.stage(p, std::span(g).first(p.index == w.index ? n : 8));
  CHECK(d.take());
  CHECK(d.step() == 1);
  d.undo();
  CHECK(d.step() == 0);
  CHECK(says(complaint([&] { d.set("lambda", 2); }), "lambda must lie in [0, 1]"));
  CHECK(says(complaint([&] { d.set("lamda", 0.1); }), "def.lambda"));
  CHECK(says(complaint([&] { d.follow("momentum", constant{7}); }), "momentum must lie in [0, 1)"));
}

TEST_CASE("runtime::any_driver: checkpoints go on bit for bit, and are those of the driver in code") {
  std::vector<std::string> complaints(2);
  run_ranks(2, [&](thread_communicator& comm) {
    auto const text = "cser(reset_every=3) | random_block(0.125) | error_feedback ; top_k(0.1) | error_feedback";
    auto const block = compress_with(random_block{.density = 0.125}, error_feedback{});
    auto const top = compress_with(top_k{.density = 0.1}, error_feedback{});
    std::array<few_reducer, 3> r{few_reducer{gradpress::serial{}, comm, "dense", {.seed = 3}},
                                 few_reducer{gradpress::serial{}, comm, "dense", {.seed = 3}},
                                 few_reducer{gradpress::serial{}, comm, "dense", {.seed = 3}}};
    program p(spelt(r[0], text), comm.rank(), n), q(spelt(r[1], text), comm.rank(), n);
    program c(train_with(r[2], cser{.reset_every = 3}, block, top), comm.rank(), n);
    p.driver.set("learning_rate", 0.05);
    for (int s = 0; s < 5; ++s) p.step();
    std::stringstream file, copy;
    p.driver.save(file);
    copy << file.str();
    q.driver.load(file);
    c.driver.load(copy);
    for (int s = 0; s < 5; ++s) p.step(), q.step(), c.step();
    auto& mine = complaints[static_cast<std::size_t>(comm.rank())];
    if (!identical(p.w, q.w) || !identical(p.b, q.b) || q.driver.step() != 10) mine += "by text: other numbers; ";
    if (!identical(p.w, c.w) || !identical(p.b, c.b)) mine += "in code: other numbers; ";
  });
  CHECK(complaints[0] == "");
  CHECK(complaints[1] == "");
}

TEST_CASE("runtime::any_driver: a wrong text is one clear error that names what there is") {
  CHECK(says(refusal(""), "there is nothing between two '|'"));
  CHECK(says(refusal("sgd(0.1 | top_k | error_feedback"), "the parentheses of 'sgd' do not match"));
  CHECK(says(refusal("adam | top_k | error_feedback"),
             "must begin with an optimizer, and 'adam' is none; there are: sgd, def, def_a, saef, cser, dist_ef_sgd, "
             "dgc, marina, signum"));
  CHECK(says(refusal("top_k | error_feedback"), "must begin with an optimizer, and 'top_k' is none"));
  CHECK(says(refusal("sgd(0.2)"), "names no compressor; write \"sgd(0.2) | dense\""));
  CHECK(
      says(refusal("sgd(rate=0.2) | dense"),
           "gradpress: sgd: there is no knob 'rate'; its knobs are: learning_rate, momentum, weight_decay, nesterov"));
  CHECK(says(refusal("sgd(momentum=much) | dense"), "'much' is not a value for 'momentum'"));
  CHECK(says(refusal("def(lambda=3) | top_k | error_feedback"), "gradpress: def: lambda must lie in [0, 1]"));
  CHECK(says(refusal("sgd | topk | error_feedback"), "names what the catalogue lacks: 'topk'; it has: dense, "));
  CHECK(says(refusal("cser | top_k | error_feedback"),
             "cser uses two compressors, with ';' between them, and \"top_k | error_feedback\" names 1; write for"));
  CHECK(says(refusal("def | top_k | error_feedback ; dense"), "def uses one compressor, and "));
  CHECK(says(refusal("cser | top_k | error_feedback ;"), "there is nothing before or after a ';'"));
  CHECK(says(refusal("cser | top_k | error_feedback ; top_k | ef21"), "cser is built on what was not delivered"));
  CHECK(says(refusal("def | top_k | ef21"),
             "def is built on what was not delivered; compose its compressor with error_feedback, or leave the "
             "parameter \"dense\"; its text is \"top_k | ef21\""));
  CHECK(says(refusal("def | temporal_prediction | stochastic_int"), "def is built on what was not delivered"));
  CHECK(says(refusal("dgc | top_k | error_feedback"), "dgc leaves the momentum to the compressor's memory; compose"));
  CHECK(says(refusal("dgc(momentum=0.5) | top_k | momentum_correction"), "must be those of the compressor's memory"));
  CHECK(says(refusal("marina | top_k | error_feedback"), "compose its compressor without a feedback"));

  alone a;
  spelt d(a.r, "def | top_k | error_feedback");
  floats x(n);
  auto const refused = [&](std::string const& own) { return complaint([&] { d.add("w", {n}, std::span(x), own); }); };
  CHECK(says(refused("top_k | ef21"), "def is built on what was not delivered"));
  CHECK(says(refused("dense ; dense"), "def uses one compressor"));
  CHECK(says(refused("topk"), "names what the catalogue lacks: 'topk'"));
  CHECK(refused("top_k | error_feedback") == "nothing");  // and what was refused has left no tensor of that name
}
