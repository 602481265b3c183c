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

// Around the bodies of functions that are no templates, which are then marked GRADPRESS_INLINE:
// #if GRADPRESS_BODIES ... #endif
#if defined(GRADPRESS_COMPILED_HERE)
#define GRADPRESS_BODIES 1
#define GRADPRESS_INLINE
#elif defined(GRADPRESS_COMPILED)
#define GRADPRESS_BODIES 0
#else
#define GRADPRESS_BODIES 1
#define GRADPRESS_INLINE inline
#endif

// GRADPRESS_INSTANCE of a kernel, or of a class template, over an execution space, for each that ranks on the host use. Kernels must
// not be overloaded. ONCE_FOR and ONCE_OF: of two template parameters, the first or the second given.
#if defined(KOKKOS_ENABLE_OPENMP) && defined(KOKKOS_ENABLE_SERIAL)
#define GRADPRESS_EACH_SPACE(instance, ...) \
  instance(__VA_ARGS__, ::Kokkos::Serial);  \
  instance(__VA_ARGS__, ::Kokkos::OpenMP)
#else
#define GRADPRESS_EACH_SPACE(instance, ...) instance(__VA_ARGS__, ::gradpress::serial)
#endif
#define GRADPRESS_FUNCTION_OVER(name, space) GRADPRESS_INSTANCE(decltype(name<space>) name<space>)
#define GRADPRESS_FUNCTION_FOR(name, first, space) GRADPRESS_INSTANCE(decltype(name<first, space>) name<first, space>)
#define GRADPRESS_FUNCTION_OF(name, second, space) GRADPRESS_INSTANCE(decltype(name<space, second>) name<space, second>)
#define GRADPRESS_EXCHANGE_OVER(name, space) \
  GRADPRESS_INSTANCE(void name::run(step<space> const&, transport&, letter<space>&) const)
#define GRADPRESS_CLASS_OVER(name, space) GRADPRESS_INSTANCE(class name<space>)
#define GRADPRESS_ONCE(name) GRADPRESS_EACH_SPACE(GRADPRESS_FUNCTION_OVER, name)
#define GRADPRESS_ONCE_FOR(name, first) GRADPRESS_EACH_SPACE(GRADPRESS_FUNCTION_FOR, name, first)
#define GRADPRESS_ONCE_OF(name, second) GRADPRESS_EACH_SPACE(GRADPRESS_FUNCTION_OF, name, second)
#define GRADPRESS_EXCHANGE_ONCE(name) GRADPRESS_EACH_SPACE(GRADPRESS_EXCHANGE_OVER, name)
#define GRADPRESS_CLASS_ONCE(name) GRADPRESS_EACH_SPACE(GRADPRESS_CLASS_OVER, name)
