// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What metrics ask of whole vectors: norms, in double, and how many entries are not zero. Sums go by chunks of a fixed
/// length, so their bits do not depend on the number of threads.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/kernel/dense.hpp>

#include <cmath>

namespace gradpress::kernel {

namespace detail {
/// The sum of f(i) over [0, n); `partial` is dense_chunks(n) doubles of workspace.
template <class Exec, class F>
double sum_of(Exec const& exec, char const* label, std::size_t n, double* partial, F const& f) {
  for_chunks(exec, label, dense_chunks(n), [&](std::size_t c) {
    auto const to = std::min(n, (c + 1) * dense_grain);
    double sum = 0;
    for (std::size_t i = c * dense_grain; i < to; ++i) sum += f(i);
    partial[c] = sum;
  });
  double sum = 0;
  for (std::size_t c = 0; c < dense_chunks(n); ++c) sum += partial[c];
  return sum;
}
}  // namespace detail

/// The Euclidean norm of x.
template <class Exec>
double norm(Exec const& exec, float const* x, std::size_t n, double* partial) {
  return std::sqrt(detail::sum_of(exec, "gradpress::kernel::norm", n, partial, [=](std::size_t i) {
    auto const v = static_cast<double>(x[i]);
    return v * v;
  }));
}

/// The Euclidean norm of x - factor y.
template <class Exec>
double distance(Exec const& exec, float const* x, double factor, float const* y, std::size_t n, double* partial) {
  return std::sqrt(detail::sum_of(exec, "gradpress::kernel::distance", n, partial, [=](std::size_t i) {
    auto const v = static_cast<double>(x[i]) - factor * static_cast<double>(y[i]);
    return v * v;
  }));
}

/// How many entries of x are not zero.
template <class Exec>
std::size_t count_nonzero(Exec const& exec, float const* x, std::size_t n, double* partial) {
  return static_cast<std::size_t>(detail::sum_of(exec, "gradpress::kernel::count_nonzero", n, partial,
                                                 [=](std::size_t i) { return x[i] != 0.f ? 1.0 : 0.0; }));
}

GRADPRESS_ONCE(norm);
GRADPRESS_ONCE(distance);
GRADPRESS_ONCE(count_nonzero);

}  // namespace gradpress::kernel
