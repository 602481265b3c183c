// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// For one file of a program whose files all define GRADPRESS_COMPILED, which then compile in half the time: here is what
/// they share. The CMake target gradpress::compiled does both. Must come first in its file.
///
///     #include <gradpress/compiled.hpp>

#if defined(GRADPRESS_INSTANCE)
#error "gradpress: include <gradpress/compiled.hpp> before any other header of gradpress, in a file of its own"
#endif
#define GRADPRESS_COMPILED_HERE 1

#include <gradpress/gradpress.hpp>
