// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What each memory promises of a few steps of all ranks, in its own form. "" where it holds.

#include <gradpress/feedback/diana.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/feedback/ef21_sgdm.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/feedback/local_momentum.hpp>
#include <gradpress/feedback/loco.hpp>
#include <gradpress/feedback/momentum_correction.hpp>

#include "table_life.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

namespace gradpress::test {

/// Sums over the ranks of one field, before step s.
inline doubles sum_of(std::vector<life> const& all, std::size_t s, std::string const& field) {
  doubles sum(all[0].updates[0].size());
  for (auto const& d : all) add_to(sum, d.states[s].at(field));
  return sum;
}
/// What the owners of an exchange with a memory keep, end to end; zeros for any other.
inline doubles owners_of(std::vector<life> const& all, std::size_t s) {
  doubles kept;
  for (auto const& d : all)
    if (auto const found = d.states[s].find("owner"); found != d.states[s].end())
      kept.insert(kept.end(), found->second.begin(), found->second.end());
  kept.resize(all[0].updates[0].size());
  return kept;
}
inline doubles sum_of_gradients(std::vector<life> const& all, std::size_t s) {
  doubles sum(all[0].updates[0].size());
  for (std::size_t p = 0; p < all.size(); ++p) add_to(sum, table_gradient(p, s));
  return sum;
}
/// The signal that a memory with these fields makes of a gradient.
template <class F>
floats signal_from(F const& f, std::size_t P, floats const& gradient, named_floats const& before) {
  lone_rank r(0, static_cast<int>(P));
  auto const n = gradient.size();
  state_of<F, host> state(f, r.ctx, shape{n, 1});
  state.visit([&](char const* name, auto b) { std::copy_n(before.at(name).data(), b.extent(0), b.data()); });
  floats room(n);
  return copied(f.compensate(r.ctx, over(gradient), state, over(room)));
}
template <class F>
doubles sum_of_signals(F const& f, std::vector<life> const& all, std::size_t s) {
  doubles sum(all[0].updates[0].size());
  for (std::size_t p = 0; p < all.size(); ++p)
    add_to(sum, signal_from(f, all.size(), table_gradient(p, s), all[p].states[s]));
  return sum;
}
/// The sum over the ranks of what was not delivered of their signals.
template <class F>
doubles undelivered(F const& f, std::vector<life> const& all, std::size_t s) {
  auto left = sum_of_signals(f, all, s);
  auto const P = static_cast<double>(all.size());
  add_to(left, all[0].updates[s], -P);
  auto const before = owners_of(all, s), after = owners_of(all, s + 1);
  for (std::size_t i = 0; i < left.size(); ++i) left[i] += P * (before[i] - after[i]);
  return left;
}

// ---- the laws: "" where they hold -----------------------------------------------------------------------------------

/// Nothing of the sum of signals vanishes; of what is left of step s the memory keeps kept(s).
template <class F, class Kept>
std::string conserved(F const& f, Kept const& kept, std::vector<life> const& all) {
  for (std::size_t s = 0; s < life_steps; ++s) {
    auto left = undelivered(f, all, s);
    for (auto& v : left) v *= kept(static_cast<int>(s));
    if (auto bad = compare(sum_of(all, s + 1, "residual"), left, "what was not delivered is not kept", s); !bad.empty())
      return bad;
  }
  return {};
}
/// Of this rank's gradient.
inline double scale_of(momentum_correction const& f, floats const& g, std::size_t P) {
  auto const size = std::sqrt(squared(g)), limit = f.clip / std::sqrt(static_cast<double>(P));
  return f.clip > 0 && size > limit ? limit / size : 1.;
}
/// And the momentum goes on, but for entries of which anything was delivered, whoever delivered or kept it.
inline std::string broken_law(momentum_correction const& f, std::vector<life> const& all) {
  auto const bad = conserved(
      f, [](int) { return 1.; }, all);
  for (std::size_t p = 0; p < all.size() && bad.empty(); ++p)
    for (std::size_t s = 0; s < life_steps; ++s) {
      auto const &before = all[p].states[s], &after = all[p].states[s + 1];
      auto const& g = table_gradient(p, s);
      auto const a = signal_from(f, all.size(), g, before);
      auto const scale = scale_of(f, g, all.size());
      doubles is(g.size()), wanted(g.size());
      add_to(is, after.at("momentum"));
      add_to(wanted, before.at("momentum"), f.momentum);
      add_to(wanted, g, scale * (f.nesterov ? f.momentum : 1));
      for (std::size_t i = 0; i < g.size(); ++i)
        if (f.masking && after.at("residual")[i] != a[i]) wanted[i] = 0;
      if (auto wrong = compare(is, wanted, "another momentum", s); !wrong.empty()) return wrong;
    }
  return bad;
}
/// And what was applied, with the mean memory, is what plain averaging would have applied.
inline std::string broken_law(error_feedback const& f, std::vector<life> const& all) {
  auto const kept = [&](int s) { return f.decay * (f.in_model_units() ? rate_at(s) / rate_at(s + 1) : 1); };
  auto bad = conserved(f, kept, all);
  bool const owned = all[0].states[0].contains("owner");
  if (f.decay != 1 || (owned && f.in_model_units())) return bad;  // owners keep units of the gradient
  auto const P = static_cast<double>(all.size()), last = f.in_model_units() ? rate_at(life_steps - 1) : 1;
  doubles iterate(all[0].updates[0].size()), plain(iterate.size());
  for (int s = 0; s < life_steps; ++s) {
    auto const at = static_cast<std::size_t>(s);
    auto const rate = f.in_model_units() ? rate_at(s) : 1;
    add_to(iterate, all[0].updates[at], rate);
    auto const g = sum_of_gradients(all, at);
    for (std::size_t i = 0; i < g.size(); ++i) plain[i] += rate * g[i] / P;
  }
  auto const e = sum_of(all, life_steps, "residual"), owners = owners_of(all, life_steps);
  double top = 1;  // a projection that is no contraction makes residuals larger than all else
  for (std::size_t i = 0; i < e.size(); ++i) {
    iterate[i] += last * (e[i] / P + owners[i]);
    top = std::max(top, std::abs(e[i] / P));
  }
  return bad + compare(iterate, plain, "the virtual iterate is another", life_steps, 1e-5 * top);
}
/// The mirror is the mean of what the ranks keep, and equal on all of them; but for what owners still have.
template <class F>
std::string mirrored(F const&, double share, std::vector<life> const& all) {
  auto const P = static_cast<double>(all.size());
  for (std::size_t s = 1; s <= life_steps; ++s) {
    auto mean = sum_of(all, s, "mine"), mirror = doubles(mean.size());
    add_to(mirror, all[0].states[s].at("mirror"));
    auto const owners = owners_of(all, s);
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i] /= P, mirror[i] += share * owners[i];
    if (auto bad = compare(mirror, mean, "the mirror is not the mean of what ranks keep", s - 1, 1e-5); !bad.empty())
      return bad;
    for (auto const& d : all)
      if (!identical(d.states[s].at("mirror"), all[0].states[s].at("mirror"))) return at_step("mirrors differ", s - 1);
  }
  return {};
}
inline std::string updates_are_mirrors(std::vector<life> const& all) {
  for (std::size_t s = 0; s < life_steps; ++s)
    if (!identical(all[0].updates[s], all[0].states[s + 1].at("mirror"))) return at_step("the update is no mirror", s);
  return {};
}
inline std::string broken_law(ef21 const& f, std::vector<life> const& all) {
  return mirrored(f, 1, all) + updates_are_mirrors(all);
}
/// Each rank's average over time, whatever was delivered.
inline std::string averages(double share, char const* field, std::vector<life> const& all) {
  for (std::size_t p = 0; p < all.size(); ++p)
    for (std::size_t s = 0; s < life_steps; ++s) {
      auto const& g = table_gradient(p, s);
      doubles is(g.size()), wanted(g.size());
      add_to(is, all[p].states[s + 1].at(field));
      add_to(wanted, g, share);
      add_to(wanted, all[p].states[s].at(field), 1 - share);
      if (auto bad = compare(is, wanted, "another average over time", s, 1e-6); !bad.empty()) return bad;
    }
  return {};
}
inline std::string broken_law(ef21_sgdm const& f, std::vector<life> const& all) {
  return mirrored(f, 1, all) + updates_are_mirrors(all) + averages(f.eta, "average", all);
}
inline std::string broken_law(diana const& f, std::vector<life> const& all) {
  for (std::size_t s = 0; s < life_steps; ++s) {
    doubles is(all[0].updates[s].size()), wanted(is.size());
    add_to(is, all[0].states[s + 1].at("mirror"));
    add_to(wanted, all[0].states[s].at("mirror"), 1 - f.alpha);
    add_to(wanted, all[0].updates[s], f.alpha);
    if (auto bad = compare(is, wanted, "the mirror moved by another share", s, 1e-6); !bad.empty()) return bad;
  }
  return mirrored(f, f.alpha, all);
}
/// An average of what was not delivered, rounded to 8 bits; and nothing after a reset.
inline std::string broken_law(loco const& f, std::vector<life> const& all) {
  auto const n = all[0].updates[0].size();
  auto const residual = [&](std::size_t p, std::size_t s) {
    floats e(n);
    kernel::int_decode(host{}, reinterpret_cast<std::byte const*>(all[p].states[s].at("codes").data()), n, 8,
                       loco::block, e.data());
    return e;
  };
  for (std::size_t s = 0; s < life_steps; ++s) {
    bool const reset = f.reset_every != 0 && (s + 1) % f.reset_every == 0;
    auto wanted = undelivered(f, all, s);
    doubles is(n), rounding(n, 1e-5);
    for (auto& v : wanted) v *= reset ? 0 : 1 - f.beta;
    for (std::size_t p = 0; p < all.size(); ++p) {
      if (!reset) add_to(wanted, residual(p, s), f.beta);
      auto const e = residual(p, s + 1);
      add_to(is, e);
      for (std::size_t i = 0; i < n; ++i)
        rounding[i] += 0.501 * static_cast<double>(all[p].states[s + 1].at("codes")[i / loco::block]);
    }
    if (reset) rounding.assign(n, 0);
    if (auto bad = compare(is, wanted, rounding, "another average of what was not delivered", s); !bad.empty())
      return bad;
  }
  return {};
}
inline std::string broken_law(local_momentum const& f, std::vector<life> const& all) {
  return averages(1 - f.beta, "momentum", all);
}
inline std::string broken_law(no_feedback const&, std::vector<life> const&) { return {}; }

}  // namespace gradpress::test
