# SPDX-License-Identifier: Apache-2.0
# Provides the target Kokkos::kokkos, for our own build and, installed beside gradpress-config.cmake, for users' builds.

# gradpress_provide_kokkos(FETCH <bool>)
#
# Takes the target that is already there; else downloads Kokkos where FETCH is true; else looks for an installed one.
# Without success: an error in our own build; inside find_package(gradpress) the reason in gradpress_kokkos_problem.
macro(gradpress_provide_kokkos)
  cmake_parse_arguments(gradpress_kokkos "" "FETCH" "" ${ARGN})
  if(NOT TARGET Kokkos::kokkos)
    if(gradpress_kokkos_FETCH)
      include(FetchContent)
      FetchContent_Declare(Kokkos GIT_REPOSITORY https://github.com/kokkos/kokkos.git GIT_TAG 4.6.00 GIT_SHALLOW ON SYSTEM)
      FetchContent_MakeAvailable(Kokkos)
    else()
      # No version is asked for here: Kokkos' own version file accepts one major version, and we work with three.
      # GLOBAL, so that a project which adds ours as a subdirectory can link it too.
      find_package(Kokkos CONFIG QUIET GLOBAL)
    endif()
  endif()

  set(gradpress_kokkos_problem "")
  if(NOT TARGET Kokkos::kokkos)
    set(gradpress_kokkos_problem
        "gradpress needs Kokkos 3.4 to 5.x and none was found: install it (Debian, Ubuntu: libtrilinos-kokkos-dev), "
        "or name its prefix with -DKokkos_ROOT=..., or let CMake download it with -DGRADPRESS_FETCH_KOKKOS=ON.")
    string(CONCAT gradpress_kokkos_problem ${gradpress_kokkos_problem})
  elseif(DEFINED Kokkos_VERSION AND (Kokkos_VERSION VERSION_LESS 3.4 OR Kokkos_VERSION VERSION_GREATER_EQUAL 6))
    set(gradpress_kokkos_problem "gradpress works with Kokkos 3.4 to 5.x; found ${Kokkos_VERSION} in ${Kokkos_DIR}.")
  else()
    gradpress_repair_kokkos_includes()
  endif()
  if(gradpress_kokkos_problem AND NOT CMAKE_FIND_PACKAGE_NAME STREQUAL "gradpress")
    message(FATAL_ERROR "${gradpress_kokkos_problem}")
  endif()
endmacro()

# Debian's package of Kokkos 3.4 (inside Trilinos) exports an include directory that does not exist; CMake refuses to
# generate for such a target. Put the directory that holds the headers in its place.
function(gradpress_repair_kokkos_includes)
  get_target_property(imported Kokkos::kokkos IMPORTED)
  get_target_property(directories Kokkos::kokkos INTERFACE_INCLUDE_DIRECTORIES)
  if(NOT imported OR NOT directories)
    return()
  endif()
  set(repaired "")
  foreach(directory IN LISTS directories)
    if(IS_ABSOLUTE "${directory}" AND NOT EXISTS "${directory}")
      find_path(gradpress_kokkos_headers Kokkos_Core.hpp PATHS ${Kokkos_INCLUDE_DIRS} PATH_SUFFIXES trilinos)
      mark_as_advanced(gradpress_kokkos_headers)
      if(NOT gradpress_kokkos_headers)
        return()
      endif()
      set(directory "${gradpress_kokkos_headers}")
    endif()
    list(APPEND repaired "${directory}")
  endforeach()
  # SYSTEM also where a project asks that imported targets be treated as its own: these are C++14 headers.
  set_target_properties(Kokkos::kokkos PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${repaired}" INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${repaired}")
endfunction()
