# SPDX-License-Identifier: Apache-2.0
# gradpress::compiled, a static library for programs of several files: what no composition changes is compiled once, in the
# build of whoever links it and with their compiler; their own files then compile in half the time. Same numbers.

function(gradpress_provide_compiled)
  if(TARGET gradpress_compiled)
    return()
  endif()
  set(source "${CMAKE_CURRENT_BINARY_DIR}/gradpress_compiled.cpp")
  file(CONFIGURE OUTPUT "${source}" CONTENT "#include <gradpress/compiled.hpp>\n" @ONLY)
  add_library(gradpress_compiled STATIC EXCLUDE_FROM_ALL "${source}")
  add_library(gradpress::compiled ALIAS gradpress_compiled)
  target_link_libraries(gradpress_compiled PUBLIC gradpress::gradpress)
  target_compile_definitions(gradpress_compiled PUBLIC GRADPRESS_COMPILED)
  # Kernels are what the library is for: fast in a debug build, too.
  target_compile_options(gradpress_compiled PRIVATE $<$<CXX_COMPILER_ID:GNU,Clang,AppleClang>:-O2>)
  set_target_properties(gradpress_compiled PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()
