# SPDX-License-Identifier: Apache-2.0
# -D NM=... -D OBJECTS=...: fails if an object that should take its kernels from gradpress::compiled has some of its own.
# They would be the portable ones, and the linker could take them for the program's.
foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND "${NM}" -C "${object}" OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  if(NOT symbols MATCHES "gradpress::kernel::")
    message(FATAL_ERROR "${object} calls no kernel at all")
  endif()
  string(REGEX MATCHALL "[^\n]* [tTwWV] [^\n]*gradpress::kernel::isa[^\n]*" own "${symbols}")
  if(own)
    list(JOIN own "\n" own)
    message(FATAL_ERROR "kernels without a GRADPRESS_ONCE, in ${object}:\n${own}")
  endif()
endforeach()
