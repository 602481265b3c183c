// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What no composition changes can be compiled once: kernels, reducers, transports. A program whose files all define
/// GRADPRESS_COMPILED takes them from the one file that includes <gradpress/compiled.hpp>, or from the CMake target
/// gradpress::compiled. Without the macro every file instantiates what it uses, and nothing need be linked.

#include <gradpress/core/kokkos_compat.hpp>

// Declares, or in compiled.hpp defines, that instance of a class template or function template.
#if defined(GRADPRESS_COMPILED_HERE)
#define GRADPRESS_INSTANCE(...) template __VA_ARGS__
#elif defined(GRADPRESS_COMPILED)
#define GRADPRESS_INSTANCE(...) extern template __VA_ARGS__
#else
#define GRADPRESS_INSTANCE(...) static_assert(true)
#endif

// The same of a kernel or of a class template over an execution space, for each that ranks on the host use. A kernel must
// not be overloaded. Files that are compiled for a device see all of it.
#if defined(KOKKOS_ENABLE_OPENMP) && defined(KOKKOS_ENABLE_SERIAL)
#define GRADPRESS_ONCE(name)                                                         \
  GRADPRESS_INSTANCE(decltype(name<::gradpress::serial>) name<::gradpress::serial>); \
  GRADPRESS_INSTANCE(decltype(name<::Kokkos::OpenMP>) name<::Kokkos::OpenMP>)
#define GRADPRESS_CLASS_ONCE(name)                     \
  GRADPRESS_INSTANCE(class name<::gradpress::serial>); \
  GRADPRESS_INSTANCE(class name<::Kokkos::OpenMP>)
#else
#define GRADPRESS_ONCE(name) GRADPRESS_INSTANCE(decltype(name<::gradpress::serial>) name<::gradpress::serial>)
#define GRADPRESS_CLASS_ONCE(name) GRADPRESS_INSTANCE(class name<::gradpress::serial>)
#endif
