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

/// A team a block: the maximum, then the codes; four elements a thread at a time, so that neighbours share lines of memory.
/// Four threads make the same random block, of which each uses a word: that costs less than passing words around.
template <class Exec>
struct int_encode_block {
  using team_type = typename Kokkos::TeamPolicy<Exec>::member_type;
  int_encoding job;

  KOKKOS_FUNCTION void operator()(team_type const& team) const {
    auto const which = static_cast<std::size_t>(team.league_rank()), begin = which * job.block;
    auto const end = job.n - begin < job.block ? job.n : begin + job.block;
    auto const fours = static_cast<int>((end - begin + 3) / 4);

    std::uint32_t top = 0;
    Kokkos::parallel_reduce(
        Kokkos::TeamThreadRange(team, fours),
        [&](int part, std::uint32_t& most) {
          auto const a = load(begin + 4 * static_cast<std::size_t>(part), end);
          for (float const x : a.value) most = magnitude_bits(x) > most ? magnitude_bits(x) : most;
        },
        Kokkos::Max<std::uint32_t>(top));
    auto const step = make_int_step(top, job.bits, job.stochastic);
    Kokkos::single(Kokkos::PerTeam(team), [&] {
      reinterpret_cast<float*>(job.codes)[which] = step.scale;
      if (top >= not_finite_from) Kokkos::atomic_fetch_or(job.not_finite, 1u);
    });
    auto* const codes = job.codes + 4 * ((job.n + job.block - 1) / job.block);
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, fours), [&](int part) {
      auto const at = begin + 4 * static_cast<std::size_t>(part);
      encode(step, at, end, codes + at * static_cast<std::size_t>(job.bits) / 8);
    });
  }

  struct four {
    float value[4];
  };
  /// The signal from `at` on, zeros from `end` on.
  KOKKOS_FUNCTION four load(std::size_t at, std::size_t end) const {
    four a;
    for (std::size_t i = 0; i < 4; ++i) a.value[i] = at + i < end ? job.signal(at + i) : 0.f;
    return a;
  }

  /// The next four elements from `at`, a multiple of 4, or as many as there are before `end`.
  KOKKOS_FUNCTION void encode(int_step const& step, std::size_t at, std::size_t end, std::byte* to) const {
    auto const random = job.stochastic ? philox(job.key, at / 16).word[at / 4 % 4] : 0u;
    auto a = load(at, end);
    std::uint32_t packed = 0;
    for (int i = 0; i < 4; ++i) {
      auto const q = int_code(a.value[i], step, job.stochastic, random >> (8 * i) & 0xffu);
      a.value[i] -= static_cast<float>(q) * step.scale;
      packed |= (static_cast<std::uint32_t>(q) & ((1u << job.bits) - 1)) << (i * job.bits);
    }
    if (job.rest)
      for (std::size_t i = 0; i < 4; ++i)
        if (at + i < end) job.rest[at + i] = a.value[i];
    auto const count = end - at < 4 ? end - at : std::size_t{4};
    if (count == 4 && job.bits == 8)
      *reinterpret_cast<std::uint32_t*>(to) = packed;
    else if (count == 4 && job.bits == 4)
      *reinterpret_cast<std::uint16_t*>(to) = static_cast<std::uint16_t>(packed);
    else
      for (std::size_t bit = 0; bit < count * static_cast<std::size_t>(job.bits); bit += 8)
        *to++ = static_cast<std::byte>(packed >> bit & 0xffu);
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
