// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Checkpoints of an l_greco.

#include <gradpress/schedule/l_greco.hpp>

#include <charconv>
#include <sstream>

namespace gradpress {

/// With one step more of each tensor, where `more` is not empty, that was not observed as yet.
template <class Exec>
void l_greco<Exec>::write(std::ostream& to, checkpoint::header const& here,
                          std::vector<std::span<float const>> const& more) const {
  auto const options = describe(options_);
  std::vector<checkpoint::field> sums;
  std::vector<checkpoint::knobs> numbers;
  std::vector<buffer<Exec>> kept;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    auto const& t = tensors_[i];
    auto const observed = t.observed + (more[i].empty() ? 0 : 1);
    numbers.push_back({t.name, options,
                       "rows=" + std::to_string(t.dims.rows) + ",cols=" + std::to_string(t.dims.cols) +
                           ",default=" + std::to_string(t.by_default) + ",rank=" + std::to_string(t.now) +
                           ",observed=" + std::to_string(observed)});
    auto sum = t.sum;
    if (!more[i].empty()) {
      kept.push_back(sum = kernel::zeros(exec_, "gradpress::sum", t.dims.size()));
      kernel::copy(exec_, t.sum.data(), t.dims.size(), sum.data());
      kernel::accumulate(exec_, more[i].data(), false, sum.data(), t.dims.size());
    }
    sums.push_back({t.name, options, "sum", {sum.data(), observed > 0 ? t.dims.size() : 0}});
  }
  fence(exec_);
  std::ostringstream inner;
  checkpoint::write(inner, here, sums, numbers);
  checkpoint::write_sized(to, std::move(inner).str());
}
template <class Exec>
void l_greco<Exec>::read(std::istream& from, checkpoint::header const& here) {
  auto inner = checkpoint::read_sized(from, "l_greco: its checkpoint is missing or truncated; use what save wrote");
  auto const options = describe(options_);
  auto loaded = tensors_;  // sums are shared with it until all is known to fit
  std::vector<std::vector<float>> sums;
  auto const h = checkpoint::read(inner, here, [&](auto const& numbers) {
    if (numbers.size() != loaded.size())
      throw state_error("l_greco: the checkpoint has " + std::to_string(numbers.size()) + " tensors, here are " +
                        std::to_string(loaded.size()) + "; add the same ones in the same order");
    std::vector<checkpoint::field> fields;
    for (std::size_t i = 0; i < loaded.size(); ++i) {
      take(loaded[i], numbers[i], options);
      sums.emplace_back(loaded[i].observed > 0 ? loaded[i].dims.size() : 0);
      fields.push_back({loaded[i].name, options, "sum", {}});
    }
    for (std::size_t i = 0; i < fields.size(); ++i) fields[i].values = sums[i];
    return fields;
  });
  if (h.step != here.step)
    throw state_error("l_greco: the checkpoint was saved after step " + std::to_string(h.step) + ", this is after " +
                      std::to_string(here.step) + "; load what was saved with it first");
  tensors_ = std::move(loaded);
  for (std::size_t i = 0; i < sums.size(); ++i) {
    kernel::fill_zero(exec_, tensors_[i].sum.data(), tensors_[i].dims.size());
    if (!sums[i].empty()) kernel::copy(exec_, sums[i].data(), sums[i].size(), tensors_[i].sum.data());
  }
  fence(exec_);
  last_ = {};
}
/// Its numbers into t, as far as they fit.
template <class Exec>
void l_greco<Exec>::take(tensor& t, checkpoint::knobs const& saved, std::string const& options) const {
  auto const who = "l_greco: tensor '" + t.name + "': ";
  if (saved.tensor != t.name)
    throw state_error(who + "has '" + saved.tensor + "' in its place in the checkpoint; add the same ones in the " +
                      "same order");
  if (saved.method != options)
    throw state_error(who + "was saved by " + saved.method + " and is now " + options + "; use the same options");
  std::uint64_t value[5] = {};
  auto const* at = saved.text.data();
  auto const* const end = at + saved.text.size();
  for (auto& v : value) {
    at = std::find(at, end, '=');
    if (at != end) at = std::from_chars(at + 1, end, v).ptr;
  }
  if (value[0] != t.dims.rows || value[1] != t.dims.cols)
    throw state_error(who + "is " + std::to_string(value[0]) + " x " + std::to_string(value[1]) +
                      " in the checkpoint and " + std::to_string(t.dims.rows) + " x " + std::to_string(t.dims.cols) +
                      " here; use the same shape");
  if (value[2] < 1 || value[2] > std::min<std::size_t>({t.dims.rows, t.dims.cols, 32}) || value[3] > 32)
    throw state_error(who + "has ranks in the checkpoint that it cannot have; use what save wrote");
  set_default(t, static_cast<int>(value[2]));
  t.now = static_cast<int>(value[3]);
  t.observed = value[4];
}

}  // namespace gradpress
