# Each example on simgpu: bare, and held by cuslice.
add_subdirectory(${CMAKE_SOURCE_DIR}/tests/simgpu/twins ${CMAKE_BINARY_DIR}/tests/simgpu/twins)

set(bin ${CMAKE_RUNTIME_OUTPUT_DIRECTORY})
set(expect ${CMAKE_CURRENT_SOURCE_DIR}/expect.sh)
set(machine ${CMAKE_BINARY_DIR}/simgpu/simgpu run -s memory=8GiB -s kernel.spin=1ms --)
set(with_twins env SIMGPU_TWINS=${CMAKE_BINARY_DIR}/simgpu/twins.so)

# A sanitizer's runtime must come before what is preloaded.
set(preload $<TARGET_FILE:cuslice_preload>)
if(CUSLICE_SANITIZE AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
    string(SUBSTRING ${CUSLICE_SANITIZE} 0 1 initial)
    execute_process(COMMAND ${CMAKE_C_COMPILER} -print-file-name=lib${initial}san.so
        OUTPUT_VARIABLE runtime OUTPUT_STRIP_TRAILING_WHITESPACE)
    set(preload ${runtime}:${preload})
endif()
# Each process for itself, also where the tests run in a container.
set(sliced env LD_PRELOAD=${preload} CUSLICE_GROUP=none)

function(example_test name)
    add_test(NAME examples.${name} COMMAND ${expect} ${ARGN})
    set_tests_properties(examples.${name} PROPERTIES LABELS examples TIMEOUT 60)
endfunction()

example_test(saxpy_bare
    "^device: simgpu" "of 8589934592 bytes free" "1000000 elements, result right" "refused$"
    -- ${machine} ${with_twins} ${bin}/saxpy)
example_test(saxpy_preloaded_without_limits
    "of 8589934592 bytes free" "result right" "refused$"
    -- ${machine} ${with_twins} ${sliced} ${bin}/saxpy)
example_test(saxpy_with_a_quota
    "of 1073741824 bytes free" "result right" "^1074790400 bytes: refused$"
    -- ${machine} ${with_twins} ${sliced} CUSLICE_MEMORY=1GiB ${bin}/saxpy)
example_test(saxpy_with_a_share
    "result right" "refused$"
    -- ${machine} ${with_twins} ${sliced} CUSLICE_COMPUTE=50% ${bin}/saxpy)
example_test(saxpy_without_its_twin_is_wrong
    --status 1 "result wrong" -- ${machine} ${bin}/saxpy)
example_test(saxpy_with_a_wrong_argument
    --status 2 "--elements \"many\": not a whole number" -- ${machine} ${bin}/saxpy --elements many)

# A kernel of one millisecond: 1000 a second at most. These bounds hold on a loaded machine as well.
foreach(mode sync queue graph)
    example_test(busy_${mode}_bare --below 1010 "launches of"
        -- ${machine} ${bin}/busy --seconds 1 --mode ${mode})
    example_test(busy_${mode}_with_a_share --below 300 "launches of"
        -- ${machine} ${sliced} CUSLICE_COMPUTE=25% ${bin}/busy --seconds 2 --mode ${mode})
endforeach()

# These want the machine for themselves.
example_test(busy_alone_is_fast --above 900 -- ${machine} ${bin}/busy --seconds 2)
example_test(busy_gets_its_share --above 220 --below 275
    -- ${machine} ${sliced} CUSLICE_COMPUTE=25% ${bin}/busy --seconds 4)
set_tests_properties(examples.busy_alone_is_fast examples.busy_gets_its_share PROPERTIES
    LABELS "examples;timing" RUN_SERIAL ON)

example_test(harness "^CUDA starts: yes$" "the second is refused: yes" "cannot be loosened: yes"
    -- ${machine} env CUSLICE_GROUP=none ${bin}/harness)
