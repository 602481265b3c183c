# SPDX-License-Identifier: Apache-2.0
"""Conan 2 recipe. Header-only; Kokkos stays the system's (or whatever CMake finds), as no Conan package offers it."""

import os
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import load


class Gradpress(ConanFile):
    name = "gradpress"
    description = "Compressed gradient exchange for data-parallel training, as a header-only C++20 toolkit"
    license = "Apache-2.0"
    topics = ("gradient-compression", "distributed-training", "kokkos", "mpi", "header-only")
    package_type = "header-library"
    implements = ["auto_header_only"]
    settings = "os", "arch", "compiler", "build_type"
    exports_sources = "CMakeLists.txt", "LICENSE", "cmake/*", "include/*"
    no_copy_source = True

    def set_version(self):
        text = load(self, os.path.join(self.recipe_folder, "CMakeLists.txt"))
        self.version = re.search(r"project\(gradpress VERSION ([0-9.]+)", text).group(1)

    def validate(self):
        check_min_cppstd(self, "20")

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        for part in ("TESTING", "EXAMPLES", "BENCH"):
            toolchain.cache_variables[f"GRADPRESS_BUILD_{part}"] = False
        toolchain.generate()

    def build(self):
        CMake(self).configure()

    def package(self):
        CMake(self).install()

    def package_info(self):
        # The package's own config also finds Kokkos, which a config made by Conan could not know of.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = [os.path.join("share", "cmake", "gradpress")]
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
