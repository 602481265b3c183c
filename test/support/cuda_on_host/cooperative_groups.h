// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The grid barrier, on the host.

#include <cuda_runtime.h>

namespace cooperative_groups {
struct grid_group {
  void sync() const { cuda_on_host::block_machine::here().sync_grid(); }
};
inline grid_group this_grid() { return {}; }
}  // namespace cooperative_groups
