// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What a memory has not been relieved of yet, because the next projection can do it in the same pass.

#include <gradpress/core/memory.hpp>
#include <gradpress/core/step.hpp>

#include <cstddef>

namespace gradpress::detail {

/// The product of two factors.
template <class Exec>
struct debt {
  buffer<Exec> basis, factor;
  bool owed = false;

  debt() = default;
  debt(std::size_t basis_size, std::size_t factor_size)
      : basis(unwritten<Exec>("gradpress::tensor", basis_size)),
        factor(unwritten<Exec>("gradpress::tensor", factor_size)) {}

  /// Relieves `memory` of it, the same numbers as if it had never been owed.
  template <class Pr>
  void pay(Pr const& projector, step<Exec> const& ctx, shape dims, buffer<Exec> const& memory) {
    projector.settle(ctx, dims, in<Exec>(basis), in<Exec>(factor), view<Exec>(memory));
    owed = false;
  }
};

}  // namespace gradpress::detail
