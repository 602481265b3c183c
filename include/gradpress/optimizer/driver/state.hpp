// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A driver's checkpoint: the reducer's, then parameters, momenta, knobs and numbers of the optimizer.

#include <gradpress/core/checkpoint.hpp>
#include <gradpress/optimizer/driver.hpp>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace gradpress {

template <class Exec, class Method, class... C>
void driver<Exec, Method, C...>::save(std::ostream& to) {
  if (in_step()) throw misuse("save was called inside a step; take its gradients first");
  std::ostringstream inner;
  reducer_->save(inner);
  checkpoint::write_sized(to, std::move(inner).str());
  std::vector<checkpoint::field> all;
  for (auto& m : members_)
    m->work->visit([&](char const* name, float* data, std::size_t n) {
      all.push_back({m->name, describe(as_made_), name, {data, n}});
    });
  std::string changed;
  for (auto const& [knob, value] : changed_knobs()) changed += (changed.empty() ? "" : ",") + knob + '=' + value;
  checkpoint::write(to, header(), all,
                    {{"", describe(as_made_), changed},
                     {"clock", describe(as_made_), std::to_string(sample_) + (prepared_ ? "+" : "")}});
}

template <class Exec, class Method, class... C>
void driver<Exec, Method, C...>::load(std::istream& from) {
  if (in_step()) throw misuse("load was called inside a step; take its gradients first");
  std::string const who = here();
  auto inner = checkpoint::read_sized(
      from, who + "the checkpoint of the driver is missing or truncated; use what driver.save wrote");

  // Into a copy first: what does not fit the reducer must not have changed the optimizer.
  std::vector<std::vector<float>> read;
  std::vector<std::span<float>> into;
  auto changed = as_made_;
  std::uint64_t sample = 0;
  bool prepared = false;
  auto const h = checkpoint::read(from, header(), [&](auto const& notes) {
    std::vector<checkpoint::field> fields;
    for (auto const& note : notes) {
      if (note.method != describe(as_made_))
        throw state_error(who + "the checkpoint is of " + note.method + " and this is " + describe(as_made_) +
                          "; make the driver as it was and use set after load");
      if (note.tensor == "clock") {
        prepared = note.text.ends_with('+');
        static_cast<void>(std::from_chars(note.text.data(), note.text.data() + note.text.size(), sample));
      } else {
        take_knobs(note.text, changed);
      }
    }
    for (auto& m : members_)
      m->work->visit([&](char const* name, float* data, std::size_t n) {
        read.emplace_back(n);
        into.emplace_back(data, n);
        fields.push_back({m->name, describe(as_made_), name, {}});
      });
    for (std::size_t i = 0; i < fields.size(); ++i) fields[i].values = read[i];
    return fields;
  });
  reducer_->load(inner);
  for (std::size_t i = 0; i < read.size(); ++i) std::copy(read[i].begin(), read[i].end(), into[i].begin());
  method_ = changed;
  number_ = h.step;
  sample_ = sample;
  prepared_ = prepared;
  can_undo_ = at_point_ = false;
  gradient_ = 0;
  knows_start_ = false;
  place();
}

}  // namespace gradpress
