// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The tables behind logarithmic codes. They are the same on every path and, as long as expm1 is right to more than
/// fp32, on every machine; what follows them compares integers.

#include <gradpress/kernel/blocks.hpp>

#include <cmath>

namespace gradpress::kernel::detail {

/// The grid top * ((1 + alpha)^(m / M) - 1) / alpha, in fp32.
class log_grid {
  double top_, alpha_, h_;
  int last_;

  [[nodiscard]] double at(double m) const noexcept { return top_ * (std::expm1(m * h_) / alpha_); }

 public:
  log_grid(int bits, float alpha, float top) noexcept
      : top_(static_cast<double>(top)), alpha_(static_cast<double>(alpha)), last_((1 << (bits - 1)) - 1) {
    h_ = std::log1p(alpha_) / last_;
  }
  [[nodiscard]] int last() const noexcept { return last_; }
  [[nodiscard]] float value(int m) const noexcept { return static_cast<float>(m < last_ ? at(m) : top_); }
  /// The smallest float that is nearer to m than to m - 1 on the logarithmic scale.
  [[nodiscard]] float from(int m) const noexcept {
    auto const border = at(m - 0.5);
    auto const f = static_cast<float>(border);
    return static_cast<double>(f) < border ? std::nextafter(f, static_cast<float>(top_)) : f;
  }
};

/// From values to codes.
///
/// Between the thresholds of magnitudes m and m + 1 the code is m. Cells of equal width in the bits of a float, that is
/// of nearly equal relative width, hold one threshold at most, so a look-up and one comparison find m: a cell knows m at
/// its start, and how far from there the threshold is. Where thresholds are too close for that (top near the end of the
/// range of float), a binary search does.
class log_encoder {
  static constexpr std::size_t room = 4096;
  int bits_, last_;
  std::uint32_t from_[130];  ///< bits of the threshold of each magnitude; beyond the last one no number
  std::uint32_t base_ = 0;
  int shift_ = 0;             ///< 0: search
  std::uint32_t cell_[room];  ///< m in bits 24 and above

  [[nodiscard]] bool make_cells(int shift) noexcept {
    auto const base = (from_[1] - 1) >> shift << shift;
    auto const cells = static_cast<std::size_t>((from_[last_] - base) >> shift) + 1;
    if (cells > room) return false;
    int m = 0;
    for (std::size_t c = 0; c < cells; ++c) {
      auto const start = base + (static_cast<std::uint32_t>(c) << shift), end = start + (1u << shift);
      cell_[c] = static_cast<std::uint32_t>(m) << 24 | (std::min(from_[m + 1], end) - start);
      if (from_[m + 1] < end) ++m;
      if (from_[m + 1] < end) return false;
    }
    base_ = base;
    shift_ = shift;
    return true;
  }

 public:
  log_encoder(int bits, float alpha, float top) noexcept : bits_(bits) {
    log_grid const grid(bits, alpha, top);
    last_ = grid.last();
    from_[0] = 0;
    for (int m = 1; m <= last_; ++m) from_[m] = std::max(1u, std::bit_cast<std::uint32_t>(grid.from(m)));
    for (int m = last_ + 1; m < 130; ++m) from_[m] = 0xffffffffu;
    for (int shift = 21; shift >= 15; --shift)
      if (make_cells(shift)) break;
  }
  [[nodiscard]] int bits() const noexcept { return bits_; }
  [[nodiscard]] int shift() const noexcept { return shift_; }
  [[nodiscard]] std::uint32_t base() const noexcept { return base_; }
  /// Magnitudes from here on have the last code.
  [[nodiscard]] std::uint32_t end() const noexcept { return from_[last_]; }
  [[nodiscard]] std::uint32_t const* cells() const noexcept { return cell_; }

  /// Codes of x[0, m), one each; `out` overlaps nothing, least of all this.
  void operator()(float const* x, std::size_t m, std::uint8_t* __restrict out) const noexcept {
    auto const inside = (1u << shift_) - 1;
    if (shift_ == 0)
      for (std::size_t i = 0; i < m; ++i) {
        auto const a = std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffu;
        unsigned q = 0;
        for (unsigned half = 1u << (bits_ - 2); half > 0; half /= 2) q += a >= from_[q + half] ? half : 0u;
        out[i] = signed_code(q, x[i]);
      }
    else
      for (std::size_t i = 0; i < m; ++i) {
        auto const a = std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffu;
        auto const at = std::min(std::max(a, base_), from_[last_]) - base_, cell = cell_[at >> shift_];
        out[i] = signed_code((cell >> 24) + ((at & inside) >= (cell & 0xffffff) ? 1u : 0u), x[i]);
      }
  }

 private:
  [[nodiscard]] std::uint8_t signed_code(unsigned m, float x) const noexcept {
    auto const negative =
        std::bit_cast<std::uint32_t>(x) >> 31 & static_cast<std::uint32_t>(m != 0);  // no branch: signs are random
    return static_cast<std::uint8_t>(m | negative << (bits_ - 1));
  }
};

/// m codes of q, which has room for one more, to where the first of them belongs; with 4 bits that one is even.
inline void log_pack(std::uint8_t* q, std::size_t m, int bits, std::byte* to) noexcept {
  if (bits != 4) return static_cast<void>(std::memcpy(to, q, m));
  if (m % 2 != 0) q[m] = 0;
  for (std::size_t j = 0; j < m; j += 2) to[j / 2] = static_cast<std::byte>(q[j] | q[j + 1] << 4);
}

/// The value of every byte, times factor; with fewer than 8 bits a byte, the higher bits count for nothing.
struct log_values {
  float value[256];

  log_values(int bits, float alpha, float top, float factor) noexcept {
    log_grid const grid(bits, alpha, top);
    auto const sign = 1 << (bits - 1);
    for (int m = 0; m < sign; ++m) {
      value[m] = factor * grid.value(m);
      value[m + sign] = -value[m];
    }
    for (int b = 2 * sign; b < 256; ++b) value[b] = value[b % (2 * sign)];
  }
};

template <bool Add>
inline void log_decode_values(log_values const& t, int bits, std::byte const* codes, std::size_t from, std::size_t to,
                              float* x) noexcept {
  auto put = [&](std::size_t i, unsigned code) { x[i] = Add ? x[i] + t.value[code] : t.value[code]; };
  if (bits == 4)
    for (auto i = from; i < to; ++i) put(i, static_cast<unsigned>(codes[i / 2]) >> (i % 2 * 4) & 15u);
  else
    for (auto i = from; i < to; ++i) put(i, static_cast<unsigned>(codes[i]));
}

}  // namespace gradpress::kernel::detail
