# SPDX-License-Identifier: Apache-2.0
# What only our own build wants; never seen by a project that adds or installs us.

# Kokkos warns on every configuration where extensions are on, and they are nothing that we use.
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Kind of build" FORCE)
endif()

find_program(GRADPRESS_CCACHE ccache)
mark_as_advanced(GRADPRESS_CCACHE)
if(GRADPRESS_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${GRADPRESS_CCACHE}")
endif()

# gcc looks for garbage whenever 128 MiB or as much again have come, which takes a fifth of the time in which our suites
# compile. Hardly one of them needs a gigabyte in all.
add_compile_options("$<$<COMPILE_LANG_AND_ID:CXX,GNU>:--param=ggc-min-heapsize=1000000>")
