// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Threshold compaction as Kokkos teams: one source for every device, the host included.

#include <gradpress/core/types.hpp>
#include <gradpress/kernel/device/bits.hpp>

namespace gradpress::kernel::device {

/// Elements of a tile, the work of one team.
inline constexpr index_t compact_tile = 4096;

/// Tiles of n elements.
[[nodiscard]] constexpr std::size_t compact_tiles(std::size_t n) noexcept {
  return (n + compact_tile - 1) / compact_tile;
}

/// Words of workspace for n elements of which up to `capacity` are kept.
[[nodiscard]] constexpr std::size_t compact_workspace_words(std::size_t n, std::size_t capacity) noexcept {
  return 3 * compact_tiles(n) + 2 * capacity;
}

/// What the three steps share.
template <class Exec>
struct compact_job {
  in<Exec> x;
  std::uint32_t threshold;  ///< bits of tau: |x| >= tau is kept
  view<Exec, index_t> index;
  view<Exec, float> value;
  view<Exec, index_t> count;                           ///< one word
  view<Exec, index_t> tile_first, tile_size, tile_to;  ///< where a tile lies in the pool, how much of it, where it goes
  view<Exec, index_t> pool_index;
  view<Exec, float> pool_value;
};

/// Step 1, a team a tile: the tile's hits, in order, to a place in the pool. The place depends on which team came
/// first; what lies there does not.
template <class Exec>
struct compact_collect {
  using team_type = typename Kokkos::TeamPolicy<Exec>::member_type;
  compact_job<Exec> job;

  KOKKOS_FUNCTION void operator()(team_type const& team) const {
    auto const tile = static_cast<index_t>(team.league_rank()), begin = tile * compact_tile;
    auto const left = static_cast<index_t>(job.x.extent(0)) - begin;
    auto const size = left < compact_tile ? left : compact_tile;
    auto const* const x = job.x.data() + begin;
    auto const threshold = job.threshold;

    // Four elements a thread at a time: their loads are on their way at once, and a scan has a quarter of the rounds.
    auto const fours = (size + 3) / 4;
    index_t hits = 0;
    Kokkos::parallel_reduce(
        Kokkos::TeamThreadRange(team, fours),
        [&](index_t part, index_t& sum) {
          for (index_t i = 4 * part; i < 4 * part + 4; ++i)
            sum += static_cast<index_t>(i < size && magnitude_bits(x[i]) >= threshold);
        },
        hits);
    index_t first = 0;
    Kokkos::single(
        Kokkos::PerTeam(team),
        [&](index_t& f) {
          f = Kokkos::atomic_fetch_add(job.count.data(), hits);
          job.tile_first(tile) = f;
          job.tile_size(tile) = hits;
        },
        first);
    auto const capacity = static_cast<index_t>(job.pool_index.extent(0));
    if (hits == 0 || first > capacity || hits > capacity - first) return;
    Kokkos::parallel_scan(Kokkos::TeamThreadRange(team, fours), [&](index_t part, index_t& to, bool last_pass) {
      float v[4];
      for (index_t u = 0; u < 4; ++u) v[u] = 4 * part + u < size ? x[4 * part + u] : 0.f;
      for (index_t u = 0; u < 4; ++u) {
        auto const i = 4 * part + u;
        if (i >= size || magnitude_bits(v[u]) < threshold) continue;
        if (last_pass) {
          job.pool_index(first + to) = begin + i;
          job.pool_value(first + to) = v[u];
        }
        ++to;
      }
    });
  }
};

/// Step 2: exclusive sums of the tiles' counts.
template <class Exec>
struct compact_rank {
  compact_job<Exec> job;
  KOKKOS_FUNCTION void operator()(index_t tile, index_t& before, bool last_pass) const {
    if (last_pass) job.tile_to(tile) = before;
    before += job.tile_size(tile);
  }
};

/// Step 3, a team a tile: from the pool to where the tile belongs.
template <class Exec>
struct compact_place {
  using team_type = typename Kokkos::TeamPolicy<Exec>::member_type;
  compact_job<Exec> job;

  KOKKOS_FUNCTION void operator()(team_type const& team) const {
    auto const tile = static_cast<index_t>(team.league_rank());
    if (job.count(0) > job.pool_index.extent(0)) return;
    auto const from = job.tile_first(tile), to = job.tile_to(tile);
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, job.tile_size(tile)), [&](index_t i) {
      job.index(to + i) = job.pool_index(from + i);
      job.value(to + i) = job.pool_value(from + i);
    });
  }
};

/// Lists the elements with |x| >= tau: indices ascending, values beside them, `count` of them.
///
/// - Threshold  bits of tau, as an integer; 0 keeps everything; NaN and infinity are above every finite tau.
/// - Count      count(0) is in the memory of `Exec` and always right. Where it exceeds index.extent(0) it is all that
///              may be used. Whoever needs it on the host copies it, which waits for `exec`; nothing here does.
/// - Cost       4 bytes an element read once from memory (the second look at a tile finds it in cache), three launches.
/// - Memory     compact_workspace_words(x.extent(0), index.extent(0)) words; index and value of equal extent.
/// - Order      the same result whatever the size of a team and whichever tile comes first.
template <class Exec>
void compact_above(Exec const& exec, in<Exec> x, std::uint32_t threshold, view<Exec, index_t> index, view<Exec> value,
                   view<Exec, index_t> count, view<Exec, index_t> work) {
  Kokkos::deep_copy(exec, count, index_t{0});
  auto const tiles = compact_tiles(x.extent(0)), capacity = index.extent(0);
  if (tiles == 0) return;
  auto const pool_value = as<float>(part(work, 3 * tiles + capacity, capacity));
  compact_job<Exec> const job{x,
                              threshold,
                              index,
                              value,
                              count,
                              part(work, 0, tiles),
                              part(work, tiles, tiles),
                              part(work, 2 * tiles, tiles),
                              part(work, 3 * tiles, capacity),
                              pool_value};
  auto const teams = Kokkos::TeamPolicy<Exec>(exec, static_cast<int>(tiles), Kokkos::AUTO);
  Kokkos::parallel_for("compact_above::collect", teams, compact_collect<Exec>{job});
  Kokkos::parallel_scan("compact_above::rank",
                        Kokkos::RangePolicy<Exec, Kokkos::IndexType<index_t>>(exec, 0, static_cast<index_t>(tiles)),
                        compact_rank<Exec>{job});
  Kokkos::parallel_for("compact_above::place", teams, compact_place<Exec>{job});
}

}  // namespace gradpress::kernel::device
