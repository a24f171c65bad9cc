# LibTorch out of a PyTorch wheel or a LibTorch archive, without Python, the CUDA toolkit or Torch's
# own TorchConfig.cmake (which wants both when the wheel was built for CUDA).
#
# Looked for, in this order:
#   1. Torch_ROOT and CMAKE_PREFIX_PATH (CMake or environment variable): .../torch, a libtorch folder,
#      .../torch/share/cmake, or a folder of Python packages with torch/ in it;
#   2. .deps/libtorch, which scripts/setup fills.
#
# Targets: LibTorch::c10, LibTorch::torch_cpu, and LibTorch::LibTorch for both.
# A CUDA wheel's libtorch_cpu.so needs libcudart and libcupti even on a machine without a GPU. Their
# folders are in LibTorch_RUNTIME_DIRS; the targets pass them on as RPATHs, so nothing needs
# LD_LIBRARY_PATH. torch_cuda is never linked: the program opens it at run time if it is there.

set(_torch_candidates "")
foreach(_prefix IN LISTS Torch_ROOT CMAKE_PREFIX_PATH)
  list(APPEND _torch_candidates "${_prefix}")
endforeach()
foreach(_variable Torch_ROOT CMAKE_PREFIX_PATH)
  if(DEFINED ENV{${_variable}})
    string(REPLACE ":" ";" _prefixes "$ENV{${_variable}}")
    list(APPEND _torch_candidates ${_prefixes})
  endif()
endforeach()
list(APPEND _torch_candidates "${PROJECT_SOURCE_DIR}/.deps/libtorch")

set(_torch_root "")
foreach(_candidate IN LISTS _torch_candidates)
  foreach(_suffix "" "/torch" "/../.." "/../../..")
    if(EXISTS "${_candidate}${_suffix}/lib/libtorch_cpu.so"
       AND EXISTS "${_candidate}${_suffix}/include/ATen/ATen.h")
      get_filename_component(_torch_root "${_candidate}${_suffix}" ABSOLUTE)
      break()
    endif()
  endforeach()
  if(_torch_root)
    break()
  endif()
endforeach()
set(LibTorch_DIR_FOUND "${_torch_root}")
# Ninja runs CMake again without the caller's environment: keep what it named.
if(_torch_root AND NOT _candidate STREQUAL "${PROJECT_SOURCE_DIR}/.deps/libtorch")
  set(Torch_ROOT "${_torch_root}" CACHE PATH "LibTorch to use instead of .deps/libtorch" FORCE)
endif()

set(LibTorch_VERSION "")
if(_torch_root)
  # The numbers moved from torch/version.h to torch/headeronly/version.h in later releases.
  foreach(_header torch/headeronly/version.h torch/version.h torch/csrc/api/include/torch/version.h)
    if(NOT LibTorch_VERSION AND EXISTS "${_torch_root}/include/${_header}")
      file(STRINGS "${_torch_root}/include/${_header}" _lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH)")
      if(_lines)
        set(_numbers "")
        foreach(_part MAJOR MINOR PATCH)
          string(REGEX MATCH "TORCH_VERSION_${_part} +([0-9]+)" _match "${_lines}")
          list(APPEND _numbers "${CMAKE_MATCH_1}")
        endforeach()
        list(JOIN _numbers "." LibTorch_VERSION)
      endif()
    endif()
  endforeach()

  # libcudart and libcupti: beside the package (wheels), inside it (archives), or the system's own.
  set(LibTorch_RUNTIME_DIRS "${_torch_root}/lib")
  file(GLOB _runtime_dirs
    "${_torch_root}/../nvidia/*/lib" "${_torch_root}/../nvidia/*/lib64")
  foreach(_dir IN LISTS _runtime_dirs)
    file(GLOB _runtime_libraries "${_dir}/libcudart.so*" "${_dir}/libcupti.so*")
    if(_runtime_libraries)
      get_filename_component(_dir "${_dir}" ABSOLUTE)
      list(APPEND LibTorch_RUNTIME_DIRS "${_dir}")
    endif()
  endforeach()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_DIR_FOUND
  VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE
  "run scripts/setup, which puts LibTorch ${LibTorch_FIND_VERSION} in .deps/libtorch, or name an existing one with -DTorch_ROOT=/path/to/libtorch. -DSIDESTEP_TORCH=OFF builds everything that does without")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  foreach(_library c10 torch_cpu)
    add_library(LibTorch::${_library} SHARED IMPORTED)
    set_target_properties(LibTorch::${_library} PROPERTIES
      IMPORTED_LOCATION "${_torch_root}/lib/lib${_library}.so"
      INTERFACE_INCLUDE_DIRECTORIES
        "${_torch_root}/include;${_torch_root}/include/torch/csrc/api/include"
      INTERFACE_COMPILE_DEFINITIONS "_GLIBCXX_USE_CXX11_ABI=1")
    # The linker has to see the libraries' own needs, the loader has to find them.
    foreach(_dir IN LISTS LibTorch_RUNTIME_DIRS)
      set_property(TARGET LibTorch::${_library} APPEND PROPERTY
        INTERFACE_LINK_OPTIONS "LINKER:-rpath-link,${_dir}" "LINKER:-rpath,${_dir}")
    endforeach()
  endforeach()
  set_property(TARGET LibTorch::torch_cpu APPEND PROPERTY INTERFACE_LINK_LIBRARIES LibTorch::c10)
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  set_target_properties(LibTorch::LibTorch PROPERTIES
    INTERFACE_LINK_LIBRARIES "LibTorch::torch_cpu;LibTorch::c10")
endif()
