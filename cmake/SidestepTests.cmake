# Test programs by glob, every TEST_CASE a test of CTest.

# sidestep_tests(NAME GLOBS pattern... LABEL label TIMEOUT seconds
#                [PROCESSORS n] [EXCLUDE regex] [INCLUDE regex] [LINKS target...])
# Files with test cases are named *_test.cpp. Nothing happens while there is none.
function(sidestep_tests name)
  cmake_parse_arguments(arg "" "LABEL;TIMEOUT;EXCLUDE;INCLUDE;PROCESSORS" "GLOBS;LINKS" ${ARGN})
  if(NOT arg_PROCESSORS)
    set(arg_PROCESSORS 1)
  endif()
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${arg_GLOBS})
  if(arg_EXCLUDE)
    list(FILTER sources EXCLUDE REGEX "${arg_EXCLUDE}")
  endif()
  if(arg_INCLUDE)
    list(FILTER sources INCLUDE REGEX "${arg_INCLUDE}")
  endif()
  set(cases ${sources})
  list(FILTER cases INCLUDE REGEX "_test\\.cpp$")
  if(NOT cases)
    return()
  endif()
  # Helpers that every program may use.
  file(GLOB support CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/support/*.cpp")
  add_executable(${name} ${sources} ${support} $<TARGET_OBJECTS:sidestep_test_main>)
  target_link_libraries(${name} PRIVATE
    ${arg_LINKS} sidestep_options Catch2::Catch2 RapidCheck::RapidCheck)
  target_compile_definitions(${name} PRIVATE SIDESTEP_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  # A test that runs many seeds takes SIDESTEP_SIM_SEEDS from the environment.
  # Catch2 2.13 has no way to skip: SIDESTEP_SKIP (tests/skip.h) prints this line and returns.
  catch_discover_tests(${name}
    TEST_PREFIX "${name}:"
    PROPERTIES
      LABELS "${arg_LABEL}"
      TIMEOUT "${arg_TIMEOUT}"
      PROCESSORS "${arg_PROCESSORS}"
      SKIP_REGULAR_EXPRESSION "SIDESTEP-SKIPPED:"
      # A name that CTest cannot hand over, such as one with a semicolon, must not pass unrun.
      FAIL_REGULAR_EXPRESSION "No test cases matched;No tests ran")
endfunction()

# One libFuzzer program per file of tests/fuzz; scripts run them for a bounded time.
function(sidestep_fuzzers)
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/fuzz/*.cpp")
  add_custom_target(sidestep_fuzzers)
  foreach(source IN LISTS sources)
    get_filename_component(stem "${source}" NAME_WE)
    add_executable(fuzz_${stem} "${source}")
    target_link_libraries(fuzz_${stem} PRIVATE sidestep_data sidestep_core)
    target_link_options(fuzz_${stem} PRIVATE -fsanitize=fuzzer)
    set_target_properties(fuzz_${stem} PROPERTIES
      RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/fuzz")
    add_dependencies(sidestep_fuzzers fuzz_${stem})
  endforeach()
endfunction()
