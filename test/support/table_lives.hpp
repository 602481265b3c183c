// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A few steps of all ranks, of several tensors at once, with disturbances that must leave no trace.

#include <gradpress/communicate/threads.hpp>
#include <gradpress/reducer.hpp>

#include "memory_laws.hpp"

#include <functional>
#include <sstream>
#include <string>
#include <vector>

namespace gradpress::test {

/// What P ranks saw of `tensors` tensors, and the first thing that was wrong whatever the method.
class table_lives {
  using reducer_type = reducer<gradpress::serial>;
  using adder = std::function<void(reducer_type&, std::string const&, std::size_t)>;

  std::vector<std::vector<life>> lives_;  // [tensor][rank]
  std::vector<std::string> errors_, complaints_;
  std::size_t tensors_;
  adder twin_;
  std::string complaint_;

  static std::string name_of(std::size_t t) { return {'w', static_cast<char>('a' + t)}; }

  /// One rank, and what it makes of a step.
  struct rank_of_table {
    thread_communicator& comm;
    std::size_t tensors;
    reducer_type r{gradpress::serial{}, comm, {.seed = 5}};
    std::vector<reducer_type::tensor> handles{};

    rank_of_table(thread_communicator& c, std::size_t t, adder const& add, int first) : comm(c), tensors(t) {
      r.learning_rate(rate_at(first));
      for (std::size_t i = 0; i < tensors; ++i) add(r, name_of(i), i), handles.push_back({i});
    }
    [[nodiscard]] std::vector<floats> gradients(int s) const {
      return std::vector<floats>(tensors,
                                 table_gradient(static_cast<std::size_t>(comm.rank()), static_cast<std::size_t>(s)));
    }
    void average(std::vector<floats>& g) {
      for (std::size_t i = 0; i < tensors; ++i) r.stage(handles[i], std::span(g[i]));
      r.average();
    }
    std::vector<floats> take(int s) {
      auto g = gradients(s);
      average(g);
      return g;
    }
    std::string file() {
      std::ostringstream to;
      r.save(to);
      return to.str();
    }
  };
  static bool same(std::vector<floats> const& a, std::vector<floats> const& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](auto const& x, auto const& y) { return identical(x, y); });
  }

  /// Steps with disturbances, and a second time, from a checkpoint of before them, without any and with nobody looking.
  void live(thread_communicator& comm, adder const& add) {
    constexpr int saved = 2, poisoned = 2, foreign = 3, repeated = 4;
    auto const p = static_cast<std::size_t>(comm.rank());
    auto const complain = [&](std::string const& what, int s) {
      complaints_[p] += what + " in step " + std::to_string(s) + "; ";
    };
    rank_of_table one(comm, tensors_, add, 0);
    std::vector<std::string> files;
    std::vector<std::vector<floats>> updates;
    auto const expect = [&](std::string const& file, char const* what, int s) {
      if (auto const now = one.file(); now != file) complain(what + difference(file, now), s);
    };
    for (int s = 0; s < life_steps; ++s) {
      one.r.learning_rate(rate_at(s));
      files.push_back(one.file());
      if (s == poisoned)
        for (std::size_t t = 0; t < tensors_; ++t) {
          if (!is_poisoned(t)) continue;
          auto g = one.gradients(s);
          if (comm.rank() == culprit(t)) g[t][17] = not_finite[t % 3];
          auto const handed_in = g;
          try {
            one.average(g);
            complain("a number that is not finite was not reported of " + name_of(t), s);
          } catch (non_finite_error const& e) {
            errors_[t * static_cast<std::size_t>(comm.size()) + p] = e.what();
          }
          if (!same(g, handed_in)) complain("a gradient changed when " + name_of(t) + " was poisoned", s);
          expect(files.back(), "a poisoned step changed ", s);
        }
      if (s == foreign) {
        static_cast<void>(one.take(life_steps));
        one.r.rollback();
        expect(files.back(), "a rollback changed ", s);
      }
      updates.push_back(one.take(s));
      if (s == repeated) {
        auto const after = one.file();
        one.r.rollback();
        expect(files.back(), "a rollback changed ", s);
        if (!same(one.take(s), updates.back())) complain("a repeated step is another", s);
        expect(after, "a repeated step leaves another ", s);
      }
    }
    files.push_back(one.file());
    rank_of_table again(comm, tensors_, add, saved);
    std::istringstream from(files[saved]);
    again.r.load(from);
    for (int s = saved; s < life_steps; ++s) {
      again.r.learning_rate(rate_at(s));
      if (!same(again.take(s), updates[static_cast<std::size_t>(s)])) complain("after a load: another update", s);
    }
    if (auto const end = again.file(); end != files.back())
      complain("after a load: another " + difference(files.back(), end), life_steps);
    if (twin_) {
      rank_of_table other(comm, 1, twin_, 0);
      for (int s = 0; s < life_steps; ++s) {
        other.r.learning_rate(rate_at(s));
        if (!identical(other.take(s)[0], updates[static_cast<std::size_t>(s)][0]))
          complain("the twin: another update", s);
      }
      auto const mine = fields_of(files.back()).at(name_of(0)), its = fields_of(other.file()).at(name_of(0));
      for (auto const& [name, values] : mine)
        if (!identical(values, its.at(name))) complain("the twin: another " + name, life_steps);
    }
    for (auto const& u : updates)
      for (std::size_t t = 0; t < tensors_; ++t) lives_[t][p].updates.push_back(u[t]);
    for (auto const& f : files) {
      auto fields = fields_of(f);
      for (std::size_t t = 0; t < tensors_; ++t) lives_[t][p].states.push_back(std::move(fields[name_of(t)]));
    }
  }
  /// The first field that is not the same; none where it is in what surrounds them.
  static std::string difference(std::string const& a, std::string const& b) {
    auto const x = fields_of(a), y = fields_of(b);
    for (auto const& [tensor, fields] : x)
      for (auto const& [name, values] : fields)
        if (!identical(values, y.at(tensor).at(name))) return tensor + "." + name;
    return "what surrounds the fields";
  }
  /// Each tensor's turn comes at least once from 1 rank to 9; one at a time, so that none hides behind another.
  [[nodiscard]] bool is_poisoned(std::size_t t) const { return (t + complaints_.size()) % 6 == 0; }
  [[nodiscard]] int culprit(std::size_t t) const { return static_cast<int>((t + 1) % lives_[0].size()); }

  void compare_ranks() {
    for (auto const& c : complaints_)
      if (complaint_.empty()) complaint_ = c;
    auto const P = complaints_.size();
    for (std::size_t t = 0; t < tensors_; ++t) {
      for (std::size_t p = 0; p < P; ++p) {
        if (errors_[t * P + p] != errors_[t * P])
          complaint_ += "ranks are told different errors of " + name_of(t) + "; ";
        if (!same(lives_[t][p].updates, lives_[t][0].updates)) complaint_ += "replicas of " + name_of(t) + " differ; ";
      }
      auto const named = "rank " + std::to_string(culprit(t)) + ": tensor '" + name_of(t) + "'";
      if (complaint_.empty() && is_poisoned(t) && errors_[t * P].find(named) == std::string::npos)
        complaint_ = "the error names neither rank nor tensor: " + errors_[t * P];
    }
  }

 public:
  /// add(reducer, name, t) adds tensor t; twin, if there is one, another method that must give tensor 0's bits.
  table_lives(int P, std::size_t tensors, adder const& add, adder twin = {})
      : lives_(tensors, std::vector<life>(static_cast<std::size_t>(P))),
        errors_(tensors * static_cast<std::size_t>(P)),
        complaints_(static_cast<std::size_t>(P)),
        tensors_(tensors),
        twin_(std::move(twin)) {
    try {
      run_ranks(P, [&](thread_communicator& c) { live(c, add); });
      compare_ranks();
    } catch (std::exception const& e) {
      complaint_ = std::string("threw: ") + e.what();
    }
  }
  [[nodiscard]] std::string const& complaint() const { return complaint_; }
  [[nodiscard]] std::vector<life> const& of(std::size_t t) const { return lives_[t]; }
};

}  // namespace gradpress::test
