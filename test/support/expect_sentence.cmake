# SPDX-License-Identifier: Apache-2.0
# cmake -D SOURCE=file.cpp -D CASE=NAME -D COMPILER=c++ -D FLAGS=file [-D STOP=options] -P expect_sentence.cmake
# STOP: how this compiler is told to write nothing, if not by -fsyntax-only.
# Succeeds where compiling SOURCE with CASE_NAME fails and the sentence beside CASE_NAME is among the first lines printed;
# with NAME none, where SOURCE compiles.

set(most_lines 5)

file(READ "${FLAGS}" flags)
string(REPLACE "SHELL:" "" flags "${flags}")  # a mark for CMake itself
separate_arguments(flags UNIX_COMMAND "${flags}")

if(NOT STOP)
  set(STOP -fsyntax-only)
endif()
separate_arguments(STOP UNIX_COMMAND "${STOP}")

set(ENV{LC_ALL} C)
execute_process(COMMAND "${COMPILER}" ${flags} ${STOP} -DCASE_${CASE} "${SOURCE}"
                RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(CASE STREQUAL "none")
  if(NOT status STREQUAL "0")
    message("${output}")
    message(FATAL_ERROR "${SOURCE} does not compile by itself, so its refusals show nothing")
  endif()
  return()
endif()

file(READ "${SOURCE}" text)
if(NOT text MATCHES "CASE_${CASE}[^A-Z0-9_\n][^\n]*// expect: ([^\n]+)")
  message(FATAL_ERROR "${SOURCE}: no sentence beside CASE_${CASE}")
endif()
string(STRIP "${CMAKE_MATCH_1}" sentence)
if(status STREQUAL "0")
  message(FATAL_ERROR "CASE_${CASE} compiles; it should be refused with: ${sentence}")
endif()

string(FIND "${output}" "${sentence}" position)
if(position EQUAL -1)
  message("${output}")
  message(FATAL_ERROR "CASE_${CASE} is refused, but not with: ${sentence}")
endif()
# Where a file was included from, and the excerpts of the source that newer compilers show, are no part of the message.
string(SUBSTRING "${output}" 0 ${position} before)
string(REGEX REPLACE "(In file included|                ) from [^\n]*\n" "" before "${before}")
string(REGEX REPLACE "\n +[0-9]* [|][^\n]*" "" before "${before}")
string(REGEX MATCHALL "\n" newlines "${before}")
list(LENGTH newlines lines_before)
if(NOT lines_before LESS most_lines)
  math(EXPR line "${lines_before} + 1")
  message("${output}")
  message(FATAL_ERROR "CASE_${CASE}: the sentence comes only in line ${line}; it belongs into the first ${most_lines}")
endif()
