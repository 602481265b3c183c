// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Methods that go around a code, `ef21_plus` and `predictive`, with one code after the other, at every number of ranks.

#include <gradpress/method/ef21_plus.hpp>
#include <gradpress/method/predictive.hpp>

#include "averaging.hpp"
#include "plain_forms.hpp"
#include "table_lives.hpp"

#include <string>
#include <vector>

namespace gradpress::test {

/// A method and what is known of its code.
struct method_case {
  table_tensor tensor;
  bool served = false;    ///< the root knows all ranks, the others themselves
  bool contracts = true;  ///< the code of x is nearer to x than 0 is
  bool exact = false;     ///< the code loses nothing
};
template <class M>
method_case around(M const& m) {
  method_case c{.tensor = {.text = m.text()}};
  c.served = !std::same_as<std::remove_cvref_t<decltype(m.exchange)>, all_gather>;
  c.tensor.add = [m](auto& r, std::string const& name) { r.add(name, table_shape.rows, table_shape.cols, m); };
  return c;
}
template <class M>
method_case exactly_around(M const& m) {
  auto c = around(m);
  c.exact = true;
  return c;
}
/// Of a code that may be farther away than nothing at all.
template <class M>
method_case loosely_around(M const& m) {
  auto c = around(m);
  c.contracts = false;
  return c;
}

/// The update is the mean of what is known of the ranks, which is the same wherever it is known.
inline std::string not_known(method_case const& c, std::vector<life> const& all) {
  auto const newest = [](std::size_t p) { return "rank" + std::to_string(p) + ".lag1"; };
  for (std::size_t s = 0; s < life_steps; ++s) {
    std::vector<floats> known;
    for (std::size_t p = 0; p < all.size(); ++p) {
      known.push_back(all[0].states[s + 1].at(newest(p)));
      if (c.contracts) {
        auto lost = known[p];
        for (std::size_t i = 0; i < lost.size(); ++i) lost[i] -= table_gradient(p, s)[i];
        if (squared(lost) > squared(table_gradient(p, s)) * (1 + 1e-5)) return at_step("nothing were nearer", s);
      }
    }
    if (!identical(all[0].updates[s], mean_in_order(known)))
      return at_step("the update is no mean of what is known", s);
    for (std::size_t p = 1; p < all.size(); ++p) {
      if (!identical(all[p].states[s + 1].at(newest(p)), known[p])) return at_step("a rank knows itself otherwise", s);
      if (c.served == (all[p].states[s + 1].size() == all[0].states[s + 1].size()))
        return at_step("other ranks know more or less than they should", s);
      for (auto const& [name, values] : all[p].states[s + 1])
        if (!identical(values, all[0].states[s + 1].at(name))) return at_step("ranks know another " + name, s);
    }
  }
  return {};
}

/// All of them travel together, in all worlds.
inline void check_methods(std::vector<method_case> const& all) {
  std::vector<table_tensor> tensors;
  for (auto const& c : all) tensors.push_back(c.tensor);
  for (int const P : table_worlds) {
    CAPTURE(P);
    table_lives const lives(P, tensors);
    CHECK(lives.complaint() == "");
    if (!lives.complaint().empty()) continue;
    for (std::size_t t = 0; t < all.size(); ++t) {
      INFO(tensors[t].text);
      CHECK(not_known(all[t], lives.of(t)) == "");
      if (all[t].exact) CHECK(not_plain(no_feedback{}, lives.of(t)) == "");
    }
  }
}

}  // namespace gradpress::test
