// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The command line of a piece of evidence: NAME [--quick] FOLDER.

#include <Kokkos_Core.hpp>

#include <exception>
#include <iostream>
#include <string>

namespace evidence {

/// Calls run(quick, folder). Returns what main does: 2 for a wrong command line, 1, with a message, where run throws.
template <class Run>
int run_main(int argc, char** argv, char const* name, char const* usage, Run const& run) {
  bool quick = false;
  std::string folder;
  for (int i = 1; i < argc; ++i) {
    std::string const word = argv[i];
    if (word == "--quick")
      quick = true;
    else if (word == "--help" || word == "-h")
      return std::cout << usage, 0;
    else if (word.starts_with("-") || !folder.empty())
      return std::cerr << name << ": what is '" << word << "'? --help lists the options\n", 2;
    else
      folder = word;
  }
  if (folder.empty()) return std::cerr << usage, 2;
  try {
    Kokkos::ScopeGuard const kokkos(argc, argv);
    run(quick, folder);
    return 0;
  } catch (std::exception const& e) {
    std::cerr << name << ": " << e.what() << '\n';
    return 1;
  }
}

}  // namespace evidence
