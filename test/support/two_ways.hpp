// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What the tests of exchanges share that reduce at an owner and send the result down by a code of its own: steps with
/// all memories, those of the owners among them, and the law that binds them.

#include "memories.hpp"
#include "sparse_sums.hpp"

#include <cstring>
#include <sstream>

namespace gradpress::test {

/// The fields of a checkpoint, tensor by tensor, by the layout of docs/wire.md.
inline std::map<std::string, std::map<std::string, floats>> fields_of(std::string const& file) {
  std::map<std::string, std::map<std::string, floats>> all;
  std::size_t at = 4 + 4 + 4 + 4 + 8 + 8;
  auto const number = [&](auto v) {
    std::memcpy(&v, file.data() + at, sizeof v);
    at += sizeof v;
    return static_cast<std::size_t>(v);
  };
  for (auto left = number(std::uint64_t{}); left > 0; --left) {
    std::string texts[3];
    for (auto& text : texts) {  // tensor, method, field
      auto const size = number(std::uint32_t{});
      text = file.substr(at, size);
      at += size;
    }
    floats values(number(std::uint64_t{}));
    if (!values.empty()) std::memcpy(values.data(), file.data() + at, 4 * values.size());
    at += 4 * values.size();
    all[texts[0]][texts[2]] = std::move(values);
  }
  return all;
}
/// One of them, of whichever tensor has it first; empty if there is none of this name.
inline floats field_of(std::string const& file, std::string const& name) {
  for (auto const& [tensor, fields] : fields_of(file))
    if (auto const found = fields.find(name); found != fields.end()) return found->second;
  return {};
}

/// Of every step: the update, and what was remembered after it, residuals summed over the ranks, owners end to end.
struct two_way_step {
  floats update;
  std::vector<double> residuals, owners;
  std::vector<std::size_t> owned;  ///< floats that each rank's owner's memory has
};
template <class Method>
std::vector<two_way_step> two_way_steps(std::size_t P, std::size_t n, int steps, Method const& method) {
  std::vector<std::vector<floats>> updates(P), residuals(P), owners(P);
  run_ranks(static_cast<int>(P), [&](thread_communicator& c) {
    auto const p = static_cast<std::size_t>(c.rank());
    reducer r{gradpress::serial{}, c, {.seed = 3}};
    auto const w = r.add("w", n, 1, method);
    for (int s = 0; s < steps; ++s) {
      auto g = gradient_at(c.rank(), s, n);
      r.average(w, std::span(g));
      std::ostringstream file;
      r.save(file);
      updates[p].push_back(g);
      residuals[p].push_back(field_of(file.str(), "residual"));
      owners[p].push_back(field_of(file.str(), "owner"));
    }
  });
  std::vector<two_way_step> all;
  for (std::size_t s = 0; s < static_cast<std::size_t>(steps); ++s) {
    two_way_step now{updates[0][s], std::vector<double>(n), {}, {}};
    for (std::size_t p = 0; p < P; ++p) {
      CHECK(identical(updates[p][s], updates[0][s]));  // replicas never drift
      for (std::size_t i = 0; i < residuals[p][s].size(); ++i)
        now.residuals[i] += static_cast<double>(residuals[p][s][i]);
      now.owners.insert(now.owners.end(), owners[p][s].begin(), owners[p][s].end());
      now.owned.push_back(owners[p][s].size());
    }
    if (now.owners.empty()) now.owners.resize(n);
    CHECK(now.owners.size() == n);
    all.push_back(std::move(now));
  }
  return all;
}

/// sum of gradients + memories before = P update + memories after, P times those of the owners: the largest violation.
inline double lost_on_the_way(std::size_t P, std::vector<two_way_step> const& steps) {
  double worst = 0;
  auto const n = steps[0].update.size();
  for (std::size_t s = 0; s < steps.size(); ++s) {
    std::vector<double> left(n);
    for (std::size_t p = 0; p < P; ++p) {
      auto const g = gradient_at(static_cast<int>(p), static_cast<int>(s), n);
      for (std::size_t i = 0; i < n; ++i) left[i] += static_cast<double>(g[i]);
    }
    auto const ranks = static_cast<double>(P);
    for (std::size_t i = 0; i < n; ++i) {
      if (s > 0) left[i] += steps[s - 1].residuals[i] + ranks * steps[s - 1].owners[i];
      left[i] -= ranks * static_cast<double>(steps[s].update[i]) + steps[s].residuals[i] + ranks * steps[s].owners[i];
      worst = std::max(worst, std::abs(left[i]));
    }
  }
  return worst;
}

/// Codes and back, of one rank alone.
template <class Q>
floats round_trip_of(Q const& q, floats const& x) {
  lone_rank r;
  std::vector<std::byte> codes(q.code_bytes(x.size()));
  floats out(x.size());
  q.encode(r.ctx, over(x), bytes<host>(codes.data(), codes.size()));
  q.decode(r.ctx, in_bytes<host>(codes.data(), codes.size()), over(out));
  return out;
}

/// The mean of `steps` updates of the same gradients.
template <class Method>
std::vector<double> mean_update(std::vector<floats> const& g, int steps, Method const& method) {
  std::vector<double> mean(g[0].size());
  run_ranks(static_cast<int>(g.size()), [&](thread_communicator& c) {
    reducer r{gradpress::serial{}, c, {.seed = 9}};
    auto const w = r.add("w", g[0].size(), 1, method);
    for (int s = 0; s < steps; ++s) {
      auto x = g[static_cast<std::size_t>(c.rank())];
      r.average(w, std::span(x));
      if (c.rank() == 0)
        for (std::size_t i = 0; i < x.size(); ++i) mean[i] += static_cast<double>(x[i]) / steps;
    }
  });
  return mean;
}

/// Bytes that each rank hands to its communicator in a step, beside agreement and vote, are those that it counts; an
/// all-to-all is handed the block that stays, too, where `in_blocks` says that there is one.
template <class Method>
void check_counted_bytes(std::size_t P, std::size_t n, Method const& method, bool in_blocks) {
  std::vector<std::uint64_t> counted(P), sent(P);
  run_ranks(static_cast<int>(P), [&](thread_communicator& c) {
    auto const p = static_cast<std::size_t>(c.rank());
    counting<thread_communicator&> comm{c};
    reducer r{gradpress::serial{}, comm};
    auto const w = r.add("w", n, 1, method);
    auto g = gradient_at(c.rank(), 0, n);
    r.average(w, std::span(g));
    counted[p] = r.stats().bytes_sent;
    sent[p] = comm.bytes() - r.stats().control_bytes;
    if (in_blocks) sent[p] -= comm.counts().at("all_to_all").bytes / P;
  });
  for (std::size_t p = 0; p < P; ++p) CHECK(counted[p] == sent[p]);
}

}  // namespace gradpress::test
