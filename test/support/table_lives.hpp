// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A few steps of all ranks, of several tensors at once, with disturbances that must leave no trace.

#include <gradpress/communicate/threads.hpp>
#include <gradpress/reducer.hpp>

#include "table_life.hpp"
#include "two_ways.hpp"

#include <algorithm>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

namespace gradpress::test {

/// A tensor and its method. Its twin, if there is one, is another method that must give the same bits.
struct table_tensor {
  using adder = std::function<void(reducer<gradpress::serial>&, std::string const& name)>;
  std::string text;
  adder add{}, twin{};
};

/// What P ranks saw of some tensors, and what was wrong whatever their methods.
class table_lives {
  std::vector<table_tensor> const& tensors_;
  std::size_t ranks_;
  std::vector<std::vector<life>> lives_;          // [tensor][rank]
  std::vector<std::vector<std::string>> errors_;  // the same, of the poisoned step
  std::vector<std::string> complaints_;           // a rank
  std::string complaint_;

  static std::string name_of(std::size_t t) { return "w" + std::to_string(100 + t); }
  [[nodiscard]] std::string text_of(std::size_t t) const { return name_of(t) + " (" + tensors_[t].text + ")"; }
  /// One at a time, so that none hides behind another; each tensor's turn comes once from 1 rank to 9.
  [[nodiscard]] bool is_poisoned(std::size_t t) const { return (t + ranks_) % 9 == 0; }
  [[nodiscard]] int culprit(std::size_t t) const { return static_cast<int>((t + 1) % ranks_); }

  static bool same(std::vector<floats> const& a, std::vector<floats> const& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](auto const& x, auto const& y) { return identical(x, y); });
  }
  /// The first field that is not the same, and whose.
  [[nodiscard]] std::string difference(std::string const& a, std::string const& b) const {
    auto x = fields_of(a), y = fields_of(b);
    for (std::size_t t = 0; t < tensors_.size(); ++t)
      for (auto const& [name, values] : x[name_of(t)])
        if (!identical(values, y[name_of(t)][name])) return name + " of " + text_of(t);
    return "something beside the fields";
  }

  /// One rank and its reducer, with those of the tensors that have what `add` points to.
  class rank_at_work {
    reducer<gradpress::serial> r_;
    std::vector<reducer<gradpress::serial>::tensor> handles_;
    std::size_t rank_;

   public:
    rank_at_work(thread_communicator& c, table_lives const& of, table_tensor::adder table_tensor::*add)
        : r_(gradpress::serial{}, c, {.seed = 5}), rank_(static_cast<std::size_t>(c.rank())) {
      r_.learning_rate(rate_at(0));
      for (std::size_t t = 0; t < of.tensors_.size(); ++t)
        if (auto const& how = of.tensors_[t].*add) {
          how(r_, name_of(t));
          handles_.push_back(r_.find(of.name_of(t)));
        }
    }
    reducer<gradpress::serial>* operator->() { return &r_; }
    [[nodiscard]] std::vector<floats> gradients(int s) const {
      return std::vector<floats>(handles_.size(), table_gradient(rank_, static_cast<std::size_t>(s)));
    }
    void average(std::vector<floats>& g) {
      for (std::size_t i = 0; i < g.size(); ++i) r_.stage(handles_[i], std::span(g[i]));
      r_.average();
    }
    std::vector<floats> take(int s) {
      auto g = gradients(s);
      average(g);
      return g;
    }
    std::string file() {
      std::ostringstream to;
      r_.save(to);
      return to.str();
    }
  };

  /// Steps with disturbances; then, from a checkpoint of before them, without any and with nobody looking; then the twins.
  void live(thread_communicator& comm) {
    constexpr int saved = 2, poisoned = 2, foreign = 3, repeated = 4;
    auto const p = static_cast<std::size_t>(comm.rank());
    auto const complain = [&](std::string const& what, int s) { complaints_[p] += at_step(what, s); };
    rank_at_work one(comm, *this, &table_tensor::add);
    std::vector<std::string> files;
    std::vector<std::vector<floats>> updates;
    auto const expect = [&](std::string const& file, char const* what, int s) {
      if (auto const now = one.file(); now != file) complain(what + difference(file, now), s);
    };
    // Poisons tensors [from, to) in one step, which must fail and change nothing; what the error says.
    auto const poison = [&](std::size_t from, std::size_t to, std::string const& which, int s) {
      auto g = one.gradients(s);
      for (auto t = from; t < to; ++t)
        if (comm.rank() == culprit(t)) g[t][17] = not_finite[t % 3];
      auto const handed_in = g;
      std::string error;
      try {
        one.average(g);
        complain("a number that is not finite went unnoticed in " + which, s);
      } catch (non_finite_error const& e) {
        error = e.what();
      }
      if (!same(g, handed_in)) complain("a gradient changed beside poisoned " + which, s);
      expect(files.back(), "a poisoned step changed ", s);
      return error;
    };
    for (int s = 0; s < life_steps; ++s) {
      one->learning_rate(rate_at(s));
      files.push_back(one.file());
      if (s == poisoned) static_cast<void>(poison(0, tensors_.size(), "all tensors", s));
      for (std::size_t t = 0; t < tensors_.size() && s == poisoned; ++t)
        if (is_poisoned(t)) errors_[t][p] = poison(t, t + 1, text_of(t), s);
      if (s == foreign) {
        static_cast<void>(one.take(life_steps));
        one->learning_rate(2 * rate_at(s));  // and somebody looks: memories follow it
        static_cast<void>(one.file());
        one->rollback();
        one->learning_rate(rate_at(s));
        expect(files.back(), "a rollback changed ", s);
      }
      updates.push_back(one.take(s));
      if (s == repeated) {
        auto const after = one.file();
        one->rollback();
        expect(files.back(), "a rollback changed ", s);
        if (!same(one.take(s), updates.back())) complain("a repeated step is another", s);
        expect(after, "a repeated step leaves another ", s);
      }
    }
    files.push_back(one.file());
    {
      rank_at_work again(comm, *this, &table_tensor::add);
      again->learning_rate(rate_at(saved));
      std::istringstream from(files[saved]);
      again->load(from);
      for (int s = saved; s < life_steps; ++s) {
        again->learning_rate(rate_at(s));
        if (!same(again.take(s), updates[static_cast<std::size_t>(s)])) complain("after a load: another update", s);
      }
      if (auto const end = again.file(); end != files.back())
        complain("after a load: another " + difference(files.back(), end), life_steps);
    }
    if (std::any_of(tensors_.begin(), tensors_.end(), [](auto const& t) { return bool(t.twin); }))
      compare_twins(comm, files.back(), updates, complain);
    for (std::size_t t = 0; t < tensors_.size(); ++t)
      for (auto const& u : updates) lives_[t][p].updates.push_back(u[t]);
    for (auto const& f : files) {
      auto fields = fields_of(f);
      for (std::size_t t = 0; t < tensors_.size(); ++t) lives_[t][p].states.push_back(std::move(fields[name_of(t)]));
    }
  }
  template <class Complain>
  void compare_twins(thread_communicator& comm, std::string const& end, std::vector<std::vector<floats>> const& updates,
                     Complain const& complain) const {
    rank_at_work other(comm, *this, &table_tensor::twin);
    for (int s = 0; s < life_steps; ++s) {
      other->learning_rate(rate_at(s));
      auto const u = other.take(s);
      for (std::size_t t = 0, i = 0; t < tensors_.size(); ++t)
        if (tensors_[t].twin && !identical(u[i++], updates[static_cast<std::size_t>(s)][t]))
          complain("its twin has another update than " + text_of(t), s);
    }
    auto mine = fields_of(end), its = fields_of(other.file());
    for (std::size_t t = 0; t < tensors_.size(); ++t)
      if (tensors_[t].twin)
        for (auto const& [name, values] : mine[name_of(t)])
          if (!identical(values, its[name_of(t)][name]))
            complain("its twin has another " + name + " than " + text_of(t), life_steps);
  }

  void compare_ranks() {
    for (auto const& c : complaints_)
      if (complaint_.empty()) complaint_ = c;
    for (std::size_t t = 0; t < tensors_.size(); ++t) {
      for (std::size_t p = 0; p < ranks_; ++p) {
        if (errors_[t][p] != errors_[t][0]) complaint_ += "ranks are told different errors of " + text_of(t) + "; ";
        if (!same(lives_[t][p].updates, lives_[t][0].updates)) complaint_ += "replicas of " + text_of(t) + " differ; ";
      }
      auto const& error = errors_[t][0];
      auto const named = "rank " + std::to_string(culprit(t)) + ": tensor '" + name_of(t) + "'";
      if (complaint_.empty() && is_poisoned(t) &&
          (error.find(named) == std::string::npos || error.find(": tensor '") != error.rfind(": tensor '")))
        complaint_ = "the error does not name the one rank and tensor of " + text_of(t) + ": " + error;
    }
  }

 public:
  table_lives(int P, std::vector<table_tensor> const& tensors)
      : tensors_(tensors),
        ranks_(static_cast<std::size_t>(P)),
        lives_(tensors.size(), std::vector<life>(ranks_)),
        errors_(tensors.size(), std::vector<std::string>(ranks_)),
        complaints_(ranks_) {
    try {
      run_ranks(P, [&](thread_communicator& c) { live(c); });
      compare_ranks();
    } catch (std::exception const& e) {
      complaint_ = std::string("threw: ") + e.what();
    }
  }
  /// "" if nothing was.
  [[nodiscard]] std::string const& complaint() const { return complaint_; }
  [[nodiscard]] std::vector<life> const& of(std::size_t t) const { return lives_[t]; }
};

}  // namespace gradpress::test
