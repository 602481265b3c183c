# SPDX-License-Identifier: Apache-2.0
# MPI for our tests, examples and benchmarks. Files (or example folders) whose names begin with `mpi` need it.
# Sets gradpress_mpi_problem: empty where MPI is to be used, else the reason why it is not.

set(gradpress_mpi_problem "")
if(NOT GRADPRESS_MPI)
  set(gradpress_mpi_problem "GRADPRESS_MPI is off")
else()
  set(MPI_CXX_SKIP_MPICXX ON)
  find_package(MPI QUIET COMPONENTS CXX)
  if(NOT MPI_CXX_FOUND)
    set(gradpress_mpi_problem "no MPI was found (Debian: libopenmpi-dev, openmpi-bin)")
  endif()
endif()

# The command line that runs something at a number of ranks, on a machine that may have fewer cores, as any user.
function(gradpress_mpi_command result ranks)
  set(command "${MPIEXEC_EXECUTABLE}" ${MPIEXEC_NUMPROC_FLAG} ${ranks})
  execute_process(COMMAND "${MPIEXEC_EXECUTABLE}" --version OUTPUT_VARIABLE version ERROR_QUIET)
  if(version MATCHES "Open ?MPI|OpenRTE")
    list(APPEND command --allow-run-as-root --oversubscribe)
  endif()
  set(${result} ${command} PARENT_SCOPE)
endfunction()

# Ranks share cores here: they must yield while they wait. Single-copy transfers are refused inside many containers.
set(gradpress_mpi_environment OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1)
