# Compiler settings and the two functions with which every folder declares itself.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

get_property(sidestep_multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
if(NOT CMAKE_BUILD_TYPE AND NOT sidestep_multi_config)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
# Line tables are enough for a backtrace and keep the compiler's memory low on small machines.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1 -DNDEBUG")

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Relative paths, so that a second clone on the same machine finds what the first one compiled.
  set(CMAKE_CXX_COMPILER_LAUNCHER
    "${CMAKE_COMMAND}" -E env "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}" CCACHE_NOHASHDIR=1 "${CCACHE_PROGRAM}")
endif()

# Warnings and sanitizers are for our own code; everything else comes in as SYSTEM.
add_library(sidestep_options INTERFACE)
target_include_directories(sidestep_options INTERFACE "${PROJECT_SOURCE_DIR}")
target_compile_definitions(sidestep_options INTERFACE
  SIDESTEP_VERSION="${PROJECT_VERSION}"
  BOOST_ASIO_NO_DEPRECATED)
target_compile_options(sidestep_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 invents this one for every std::variant and std::optional that it inlines.
  target_compile_options(sidestep_options INTERFACE -Wno-maybe-uninitialized)
endif()
if(SIDESTEP_WERROR)
  target_compile_options(sidestep_options INTERFACE -Werror)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC 12 sees these in its own headers once they are inlined; shown, but no reason to stop.
    target_compile_options(sidestep_options INTERFACE
      -Wno-error=restrict -Wno-error=array-bounds
      -Wno-error=stringop-overflow -Wno-error=stringop-overread)
  endif()
endif()
if(SIDESTEP_SANITIZE)
  target_compile_options(sidestep_options INTERFACE
    -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(sidestep_options INTERFACE -fsanitize=address,undefined)
endif()
if(SIDESTEP_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "SIDESTEP_FUZZ needs clang: configure with -DCMAKE_CXX_COMPILER=clang++")
  endif()
  # Coverage feedback everywhere, the fuzzer's main only in the fuzz targets.
  target_compile_options(sidestep_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# sidestep_library(NAME GLOBS pattern... [EXCLUDE regex] [LINKS target...] [PRIVATE_LINKS target...])
# A static library from every file that matches. A folder without a .cpp yet gives an INTERFACE
# library, so that what depends on it configures all the same.
function(sidestep_library name)
  cmake_parse_arguments(arg "" "EXCLUDE" "GLOBS;LINKS;PRIVATE_LINKS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${arg_GLOBS})
  if(arg_EXCLUDE)
    list(FILTER sources EXCLUDE REGEX "${arg_EXCLUDE}")
  endif()
  if(sources)
    add_library(${name} STATIC ${sources})
    target_link_libraries(${name} PUBLIC sidestep_options ${arg_LINKS} PRIVATE ${arg_PRIVATE_LINKS})
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE sidestep_options ${arg_LINKS} ${arg_PRIVATE_LINKS})
  endif()
endfunction()
