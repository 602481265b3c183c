# SPDX-License-Identifier: Apache-2.0

# A test that hangs is a failure, not a wait. Seconds; every one of them needs a few, but machines may be slow and shared.
set(GRADPRESS_TEST_TIMEOUT 300 CACHE STRING "Seconds after which a test is stopped")
set(gradpress_test_timeout ${GRADPRESS_TEST_TIMEOUT})

function(gradpress_test_name result source)
  string(REGEX REPLACE "\\.cpp$" "" name "${source}")
  string(REPLACE "/" "." name "${name}")
  set(${result} "${name}" PARENT_SCOPE)
endfunction()

function(gradpress_add_test source main)
  gradpress_test_name(name "${source}")
  add_executable(test.${name} ${source})
  target_link_libraries(test.${name} PRIVATE ${main})
  target_precompile_headers(test.${name} REUSE_FROM ${main})
  add_test(NAME ${name} COMMAND test.${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${gradpress_test_timeout})
endfunction()

function(gradpress_add_mpi_test source)
  gradpress_test_name(name "${source}")
  if(gradpress_mpi_problem)
    gradpress_add_skipped_test(${name} "${gradpress_mpi_problem}")
    return()
  endif()
  add_executable(test.${name} ${source})
  target_link_libraries(test.${name} PRIVATE gradpress_test_mpi_main)
  foreach(ranks 1 2 4)
    gradpress_mpi_command(command ${ranks})
    add_test(NAME ${name}.${ranks} COMMAND ${command} $<TARGET_FILE:test.${name}>)
    set_tests_properties(${name}.${ranks} PROPERTIES
      TIMEOUT ${gradpress_test_timeout} PROCESSORS ${ranks} LABELS mpi ENVIRONMENT "${gradpress_mpi_environment}")
  endforeach()
endfunction()

# Stands in the summary as skipped, with its reason, instead of being silently absent.
function(gradpress_add_skipped_test name reason)
  add_test(NAME ${name} COMMAND "${CMAKE_COMMAND}" -E echo "SKIP: ${reason}")
  set_tests_properties(${name} PROPERTIES SKIP_REGULAR_EXPRESSION "^SKIP: ")
endfunction()

# Each `CASE_NAME ... // expect: sentence` of the source is compiled with CASE_NAME defined. It passes where the
# compiler refuses it with that sentence among the first lines it prints, so not for an error of another kind. With no
# CASE_ defined it must compile.
function(gradpress_add_compile_fail_tests source)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${source}")
  gradpress_test_name(stem "${source}")
  # What the suites are compiled with, and what they find precompiled: most of these sources are read in a second then. All
  # includes as system ones: only the refusal is of interest here.
  set(flags "${CMAKE_CURRENT_BINARY_DIR}/${stem}.flags")
  set(suite gradpress_test_main_light)
  # What the compiler searches by itself must keep its place: /usr/include named here would come before the compiler's.
  set(includes "$<FILTER:$<REMOVE_DUPLICATES:$<TARGET_PROPERTY:${suite},INCLUDE_DIRECTORIES>>,EXCLUDE,^/usr/include$>")
  set(options "$<TARGET_PROPERTY:${suite},COMPILE_OPTIONS>")
  set(definitions "$<TARGET_PROPERTY:${suite},COMPILE_DEFINITIONS>")
  set(precompiled "${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/${suite}.dir/cmake_pch.hxx")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    set(precompiled "-include \"${precompiled}\"")
  else()
    set(precompiled "-Xclang -include-pch -Xclang \"${precompiled}.pch\"")
  endif()
  string(TOUPPER "${CMAKE_BUILD_TYPE}" build_type)
  file(GENERATE OUTPUT "${flags}.$<COMPILE_LANGUAGE>" CONTENT
    "${CMAKE_CXX20_STANDARD_COMPILE_OPTION}\n${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${build_type}}\n$<JOIN:${options},\n>\n-D$<JOIN:${definitions},\n-D>\n-isystem \"$<JOIN:${includes},\"\n-isystem \">\"\n${precompiled}\n")

  file(STRINGS "${source}" lines REGEX "CASE_[A-Z0-9_]+.*// expect: ")
  set(cases none)
  foreach(line IN LISTS lines)
    if(line MATCHES "CASE_([A-Z0-9_]+)")  # else it is the rest of a sentence with a semicolon in it
      list(APPEND cases ${CMAKE_MATCH_1})
    endif()
  endforeach()
  foreach(case IN LISTS cases)
    set(name ${stem}.${case})
    add_test(NAME ${name}
      COMMAND "${CMAKE_COMMAND}" -D SOURCE=${CMAKE_CURRENT_SOURCE_DIR}/${source} -D CASE=${case}
              -D COMPILER=${CMAKE_CXX_COMPILER} -D FLAGS=${flags}.CXX
              -P "${CMAKE_CURRENT_SOURCE_DIR}/support/expect_sentence.cmake")
    set_tests_properties(${name} PROPERTIES TIMEOUT ${gradpress_test_timeout} LABELS compile_fail)
  endforeach()
endfunction()

# One object a header, with nothing before it; built by `./dev check` and a leg of `./dev matrix`, not with the tests: compiles only if the header includes what it uses; twice, for its guard.
# Those of the device are compiled with the stand-in that test/cuda uses, so that this needs no CUDA.
function(gradpress_add_headers_alone target)
  set(host_units "")
  set(device_units "")
  foreach(header IN LISTS gradpress_headers)
    cmake_path(RELATIVE_PATH header BASE_DIRECTORY "${PROJECT_SOURCE_DIR}/include")
    if(header MATCHES "/nccl[^/]*\\.hpp$" OR (gradpress_mpi_problem AND header MATCHES "/mpi[^/]*\\.hpp$"))
      continue()
    endif()
    set(unit "${CMAKE_CURRENT_BINARY_DIR}/headers/${header}.cpp")
    file(CONFIGURE OUTPUT "${unit}" CONTENT "#include <@header@>\n#include <@header@>\n" @ONLY)
    if(header MATCHES "\\.cuh$")
      list(APPEND device_units "${unit}")
    else()
      list(APPEND host_units "${unit}")
    endif()
  endforeach()

  add_library(${target}_host OBJECT EXCLUDE_FROM_ALL ${host_units})
  target_link_libraries(${target}_host PRIVATE gradpress_dev)
  target_compile_options(${target}_host PRIVATE -O0)  # whether they compile is all that is asked
  if(NOT gradpress_mpi_problem)
    target_link_libraries(${target}_host PRIVATE MPI::MPI_CXX)
  endif()
  add_custom_target(${target} DEPENDS ${target}_host)
  if(device_units)
    add_library(${target}_device OBJECT EXCLUDE_FROM_ALL ${device_units})
    target_include_directories(${target}_device PRIVATE "${PROJECT_SOURCE_DIR}/test/support/cuda_on_host")
    target_compile_options(${target}_device PRIVATE -Wno-unknown-pragmas)
    target_link_libraries(${target}_device PRIVATE gradpress_dev)
    add_dependencies(${target} ${target}_device)
  endif()
endfunction()
