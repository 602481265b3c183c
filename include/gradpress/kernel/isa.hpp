// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Which instructions the host kernels use: decided once at run time, in one binary, so that a program compiled for
/// generic x86-64 still gets AVX-512. Every path gives the same bits.

#include <gradpress/core/compile_once.hpp>

#include <atomic>
#include <cstdlib>
#include <cstring>

// Where nvcc compiles for a device, where an old one compiles for the host (it does not parse every intrinsic), and on other
// machines, the portable path serves. Where kernels are compiled elsewhere, nobody needs the intrinsics: they are half a
// second of every file.
#if defined(__CUDACC__) && (defined(__CUDA_ARCH__) || !defined(__CUDACC_VER_MAJOR__) || __CUDACC_VER_MAJOR__ < 13)
#define GRADPRESS_PARSES_INTRINSICS 0
#else
#define GRADPRESS_PARSES_INTRINSICS 1
#endif
#if defined(__x86_64__) && defined(__GNUC__) && GRADPRESS_PARSES_INTRINSICS && GRADPRESS_BODIES
#define GRADPRESS_X86 1
// gcc 12 takes the undefined sources of masked intrinsics for uninitialised variables (its bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop
#define GRADPRESS_AVX2 __attribute__((target("avx2,f16c,bmi,bmi2,popcnt")))
#if defined(__clang__)  // takes no preference here, and needs none for intrinsics
#define GRADPRESS_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c,bmi,bmi2,popcnt")))
#else
#define GRADPRESS_AVX512 \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c,bmi,bmi2,popcnt,prefer-vector-width=512")))
#endif
// For the small pieces of a loop body: a call would cost more than they do.
#define GRADPRESS_AVX2_PIECE GRADPRESS_AVX2 __attribute__((always_inline)) inline
#define GRADPRESS_AVX512_PIECE GRADPRESS_AVX512 __attribute__((always_inline)) inline
// Small arrays of registers stay registers only if the loops over them are unrolled, which GCC does not do at -O2. nvcc knows
// no such pragma for host code, and warns.
#if defined(__CUDACC__)
#define GRADPRESS_UNROLL
#elif defined(__clang__)
#define GRADPRESS_UNROLL _Pragma("clang loop unroll(full)")
#else
#define GRADPRESS_UNROLL _Pragma("GCC unroll 16")
#endif
#else
#define GRADPRESS_X86 0
#endif

// For loops that must round every product before it is added, also where the compiler could fuse the two: the attribute
// for GCC, which moreover leaves most loops without vectors at -O2, and the statement (first in the body) for Clang.
#if defined(__clang__)
#define GRADPRESS_UNFUSED
#define GRADPRESS_UNFUSED_BODY _Pragma("clang fp contract(off)")
#elif defined(__GNUC__)
#define GRADPRESS_UNFUSED __attribute__((optimize("O3", "fp-contract=off")))
#define GRADPRESS_UNFUSED_BODY
#else
#define GRADPRESS_UNFUSED
#define GRADPRESS_UNFUSED_BODY
#endif

namespace gradpress::kernel {

enum class isa { portable, avx2, avx512 };

/// What this machine can do.
isa detect_isa() noexcept;
namespace detail {
std::atomic<isa>& isa_slot() noexcept;
}
/// What the kernels use: the best of the machine, unless GRADPRESS_ISA=portable|avx2 or `force_isa` says less.
#if GRADPRESS_BODIES
inline isa current_isa() noexcept { return detail::isa_slot().load(std::memory_order_relaxed); }
#else
__attribute__((
    error("gradpress: this kernel is compiled where it has no intrinsics; give it its line "
          "GRADPRESS_ONCE, or GRADPRESS_INLINE in GRADPRESS_BODIES: docs/compiled.md"))) isa
current_isa() noexcept;
#endif
/// For tests: asks for `wanted`, gets at most what the machine has; returns what was set.
isa force_isa(isa wanted) noexcept;

#if GRADPRESS_BODIES
GRADPRESS_INLINE isa detect_isa() noexcept {
#if GRADPRESS_X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return isa::avx512;
  if (__builtin_cpu_supports("avx2")) return isa::avx2;
#endif
  return isa::portable;
}

namespace detail {
GRADPRESS_INLINE isa initial_isa() noexcept {
  auto const best = detect_isa();
  if (auto const* name = std::getenv("GRADPRESS_ISA")) {
    if (std::strcmp(name, "portable") == 0) return isa::portable;
    if (std::strcmp(name, "avx2") == 0 && best >= isa::avx2) return isa::avx2;
  }
  return best;
}
GRADPRESS_INLINE std::atomic<isa>& isa_slot() noexcept {
  static std::atomic<isa> slot{initial_isa()};
  return slot;
}
}  // namespace detail

GRADPRESS_INLINE isa force_isa(isa wanted) noexcept {
  auto const best = detect_isa();
  auto const set = wanted < best ? wanted : best;
  detail::isa_slot().store(set, std::memory_order_relaxed);
  return set;
}
#endif

}  // namespace gradpress::kernel
