// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Blockwise integer codes as Kokkos teams: one source for every device, the host included.
///
/// Layout, rounding and random numbers are those of kernel/stochastic_int.hpp, bit for bit.

#include <gradpress/core/philox.hpp>
#include <gradpress/kernel/device/bits.hpp>
#include <gradpress/kernel/int_step.hpp>

#include <cstddef>

namespace gradpress::kernel::device {

/// What one encoding reads and writes, all in the memory of the execution space.
struct int_encoding {
  float const* g;
  float const* e;  ///< may be null
  float* rest;     ///< may be null, g or e
  std::size_t n, block;
  int bits;
  bool stochastic;
  std::uint64_t key;
  std::byte* codes;
  std::uint32_t* not_finite;

  [[nodiscard]] KOKKOS_INLINE_FUNCTION float signal(std::size_t i) const { return e ? g[i] + e[i] : g[i]; }
};

/// A team a block: the maximum, then 16 elements a thread, which share one random block.
template <class Exec>
struct int_encode_block {
  using team_type = typename Kokkos::TeamPolicy<Exec>::member_type;
  int_encoding job;

  KOKKOS_FUNCTION void operator()(team_type const& team) const {
    auto const which = static_cast<std::size_t>(team.league_rank()), begin = which * job.block;
    auto const left = job.n - begin;
    auto const size = static_cast<int>(left < job.block ? left : job.block);

    std::uint32_t top = 0;
    Kokkos::parallel_reduce(
        Kokkos::TeamThreadRange(team, size),
        [&](int i, std::uint32_t& most) {
          auto const m = magnitude_bits(job.signal(begin + static_cast<std::size_t>(i)));
          most = m > most ? m : most;
        },
        Kokkos::Max<std::uint32_t>(top));
    auto const step = make_int_step(top, job.bits, job.stochastic);
    Kokkos::single(Kokkos::PerTeam(team), [&] {
      reinterpret_cast<float*>(job.codes)[which] = step.scale;
      if (top >= not_finite_from) Kokkos::atomic_fetch_or(job.not_finite, 1u);
    });
    auto* const codes = job.codes + 4 * ((job.n + job.block - 1) / job.block);
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, (size + 15) / 16), [&](int part) {
      auto const at = begin + 16 * static_cast<std::size_t>(part);
      auto const end = begin + static_cast<std::size_t>(size), stop = at + 16 < end ? at + 16 : end;
      encode(step, at, stop, codes + at * static_cast<std::size_t>(job.bits) / 8);
    });
  }

  /// Elements [at, stop), at most 16, from a multiple of 16 on.
  KOKKOS_FUNCTION void encode(int_step const& step, std::size_t at, std::size_t stop, std::byte* to) const {
    auto const random = job.stochastic ? philox(job.key, at / 16) : philox_block{};
    unsigned byte = 0;
    int filled = 0;
    for (auto i = at; i < stop; ++i) {
      auto const lane = static_cast<unsigned>(i - at);
      auto const a = job.signal(i);
      auto const q = int_code(a, step, job.stochastic, random.word[lane / 4] >> (8 * (lane % 4)) & 0xffu);
      if (job.rest) job.rest[i] = a - static_cast<float>(q) * step.scale;
      byte |= (static_cast<unsigned>(q) & ((1u << job.bits) - 1)) << filled;
      filled += job.bits;
      if (filled == 8 || i + 1 == stop) {
        *to++ = static_cast<std::byte>(byte);
        byte = 0;
        filled = 0;
      }
    }
  }
};

/// x = decoded, or x += factor * decoded.
struct int_decode_element {
  std::byte const* codes;
  std::size_t n, block;
  int bits;
  float factor;
  bool add;
  float* x;

  KOKKOS_FUNCTION void operator()(std::size_t i) const {
    auto const a_byte = static_cast<std::size_t>(8 / bits);
    auto const byte = static_cast<std::uint32_t>(codes[4 * ((n + block - 1) / block) + i / a_byte]);
    auto const scale = reinterpret_cast<float const*>(codes)[i / block] * factor;
    auto const value = static_cast<float>(unpack_code(byte, static_cast<int>(i % a_byte) * bits, bits)) * scale;
    x[i] = add ? x[i] + value : value;
  }
};

/// Codes of g + e (of g if e is null), and rest = g + e - decoded if rest is not null.
///
/// - Bits    8, 4 or 2; `block` is a multiple of 64; codes are on 4 bytes.
/// - Flag    *not_finite gets its lowest bit set where g + e holds NaN or infinity; it is never cleared here, and
///           nothing waits for it.
/// - Cost    reads g and e twice, the second time from cache; one launch.
template <class Exec>
void int_encode_sum(Exec const& exec, float const* g, float const* e, float* rest, std::size_t n, int bits,
                    std::size_t block, bool stochastic, std::uint64_t key, std::byte* codes,
                    std::uint32_t* not_finite) {
  if (n == 0) return;
  auto const teams = Kokkos::TeamPolicy<Exec>(exec, static_cast<int>((n + block - 1) / block), Kokkos::AUTO);
  int_encode_block<Exec> const f{{g, e, rest, n, block, bits, stochastic, key, codes, not_finite}};
  Kokkos::parallel_for("gradpress::kernel::device::int_encode", teams, f);
}

/// x = decoded.
template <class Exec>
void int_decode(Exec const& exec, std::byte const* codes, std::size_t n, int bits, std::size_t block, float* x) {
  Kokkos::parallel_for("gradpress::kernel::device::int_decode",
                       Kokkos::RangePolicy<Exec, Kokkos::IndexType<std::size_t>>(exec, 0, n),
                       int_decode_element{codes, n, block, bits, 1.0f, false, x});
}

/// sum += factor * decoded; factor is +1 or -1.
template <class Exec>
void int_accumulate(Exec const& exec, std::byte const* codes, std::size_t n, int bits, std::size_t block, float factor,
                    float* sum) {
  Kokkos::parallel_for("gradpress::kernel::device::int_accumulate",
                       Kokkos::RangePolicy<Exec, Kokkos::IndexType<std::size_t>>(exec, 0, n),
                       int_decode_element{codes, n, block, bits, factor, true, sum});
}

}  // namespace gradpress::kernel::device
