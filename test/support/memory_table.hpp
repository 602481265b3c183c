// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Every memory with one compressor after the other, at every number of ranks: what each pair must do.
///
/// A composition costs the compiler most of a second, so a compressor is compiled for three memories that stand for all:
/// `error_feedback` with its fused hooks, one that is any of those which remember, and one that is any of the others. The
/// second as `error_feedback` must do, bit for bit, what the first does; the test of each memory drives its own type.

#include <gradpress/communicate/threads.hpp>
#include <gradpress/feedback/diana.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/feedback/ef21_sgdm.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/feedback/local_momentum.hpp>
#include <gradpress/feedback/loco.hpp>
#include <gradpress/feedback/momentum_correction.hpp>
#include <gradpress/reducer.hpp>

#include "memory_laws.hpp"
#include "one_of.hpp"
#include "plain_forms.hpp"
#include "table_lives.hpp"

#include <algorithm>
#include <functional>
#include <string>
#include <variant>
#include <vector>

namespace gradpress::test {

using remembering = memory_of<error_feedback, momentum_correction, loco, ef21, ef21_sgdm, diana>;
using forgetful = memory_of<no_feedback, local_momentum>;
using any_memory = std::variant<error_feedback, remembering, forgetful>;

/// Calls use(f) with the memory itself.
template <class Use>
decltype(auto) with_memory(any_memory const& m, Use const& use) {
  return std::visit(
      [&]<class F>(F const& f) {
        if constexpr (std::same_as<F, error_feedback>)
          return use(f);
        else
          return std::visit(use, f.use);
      },
      m);
}

/// All memories, and for some a second setting that takes another way through it.
inline std::vector<any_memory> const& all_memories() {
  static std::vector<any_memory> const all = {
      error_feedback{},
      error_feedback{.decay = 0.75},
      error_feedback{.units = residual_units::model},
      remembering{momentum_correction{}},
      remembering{momentum_correction{.nesterov = true, .clip = 6, .masking = false}},
      remembering{loco{.beta = 0.5, .reset_every = 4}},
      remembering{loco{.beta = 0, .reset_every = 0}},
      remembering{ef21{}},
      remembering{ef21_sgdm{.eta = 0.25}},
      remembering{diana{.alpha = 0.25}},
      forgetful{no_feedback{}},
      forgetful{local_momentum{.beta = 0.75}},
  };
  return all;
}

/// A compressor without its memory.
struct compressor_case {
  using reducer_type = reducer<gradpress::serial>;
  std::string text;
  bool exact = false;    ///< delivers everything
  bool forgets = false;  ///< only with memories that remember no delivery
  std::function<void(reducer_type&, std::string const& name, any_memory const&)> add{};
};

template <class... P>
compressor_case compressed_by(P const&... p) {
  compressor_case c{.text = compress_with(p...).text(), .forgets = !(delivers_mean<P> && ...)};
  c.add = [p...](compressor_case::reducer_type& r, std::string const& name, any_memory const& m) {
    std::visit(
        [&]<class F>(F const& f) {
          if constexpr ((delivers_mean<P> && ...) || !remembers<F>)
            r.add(name, table_shape.rows, table_shape.cols, compress_with(p..., f));
          else
            throw std::logic_error("this pair is refused at compile time");
        },
        m);
  };
  return c;
}
template <class... P>
compressor_case exactly_by(P const&... p) {
  auto c = compressed_by(p...);
  c.exact = true;
  return c;
}
/// The same over each exchange of `Ways` that accepts its messages, compiled once; counts the others.
template <class Ways, class... P>
std::vector<compressor_case> over_ways(std::vector<Ways> const& ways, int& refused, P const&... p) {
  std::vector<compressor_case> all;
  constexpr auto kind = decltype(compress_with(p...))::kind;
  for (auto const& way : ways) {
    if (!way.may_carry(kind)) {
      ++refused;
      continue;
    }
    all.push_back(compressed_by(p..., way));
    all.back().text += " over " + way.text();
  }
  return all;
}

/// Runs the table and counts its pairs, so that none goes missing unnoticed.
class memory_table {
  int pairs_ = 0, refused_ = 0;

 public:
  [[nodiscard]] int pairs() const { return pairs_; }
  [[nodiscard]] int refused() const { return refused_; }

  /// Compressors with all memories, in all worlds. A few travel together: meetings of ranks are what takes time.
  void check(std::vector<compressor_case> const& all) {
    constexpr std::size_t together = 4;
    for (std::size_t from = 0; from < all.size(); from += together)
      check_together({all.begin() + static_cast<std::ptrdiff_t>(from),
                      all.begin() + static_cast<std::ptrdiff_t>(std::min(from + together, all.size()))});
  }

 private:
  void check_together(std::vector<compressor_case> const& some) {
    struct pair {
      compressor_case const* by;
      any_memory with;
    };
    std::vector<pair> pairs;
    std::vector<table_tensor> tensors;
    for (auto const& c : some)
      for (auto const& m : all_memories()) {
        if (c.forgets && !std::holds_alternative<forgetful>(m)) {
          ++refused_;
          continue;
        }
        pairs.push_back({&c, m});
        tensors.push_back({.text = c.text + " with " + with_memory(m, [](auto const& f) { return describe(f); }),
                           .add = [c, m](auto& r, std::string const& name) { c.add(r, name, m); }});
        if (auto const* f = std::get_if<error_feedback>(&m); f != nullptr && !f->in_model_units())
          tensors.back().twin = [c, f = *f](auto& r, std::string const& name) { c.add(r, name, remembering{f}); };
      }
    pairs_ += static_cast<int>(pairs.size());
    for (int const P : table_worlds) {
      CAPTURE(P);
      table_lives const all(P, tensors);
      CHECK(all.complaint() == "");
      if (!all.complaint().empty()) continue;
      for (std::size_t t = 0; t < pairs.size(); ++t) {
        INFO(tensors[t].text);
        with_memory(pairs[t].with, [&](auto const& f) {
          CHECK(broken_law(f, all.of(t)) == "");
          if (pairs[t].by->exact) CHECK(not_plain(f, all.of(t)) == "");
        });
      }
    }
  }
};

}  // namespace gradpress::test
