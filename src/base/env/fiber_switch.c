/* Switching between stacks: the processor's part, and what the sanitizers and valgrind must be told
 * of it.
 *
 * A suspended context is its callee-saved registers, pushed on its own stack, and the stack
 * pointer. Everything else is dead across a function call by the platform's ABI (System V AMD64;
 * AAPCS64), so a switch costs a few loads and stores. Other processors, or -DVARVE_FIBER_UCONTEXT,
 * use swapcontext(3).
 */
#include "base/env/fiber_internal.h"

#include "base/assert.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__has_feature)
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || HAS_FEATURE(address_sanitizer)
#define ON_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__) || HAS_FEATURE(thread_sanitizer)
#define ON_TSAN 1
#include <sanitizer/tsan_interface.h>
#endif
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif

/* Below every stack lies unmapped memory. It is wider than one page because a function with a large
 * array may step over a single one without touching it; address space costs nothing. */
enum { GUARD_BYTES = 64 * 1024 };

#ifndef VARVE_FIBER_UCONTEXT

/* Saves the callee-saved registers on this stack and its pointer in *ret_save, then takes up
 * `load`. */
void fiber__swap_stacks(void **ret_save, void *load);

#if defined(__x86_64__)
/* Also MXCSR and the x87 control word, whose modes the ABI lets a callee change only if it restores
 * them. */
__asm__(".text\n"
        ".p2align 4\n"
        ".globl fiber__swap_stacks\n"
        ".hidden fiber__swap_stacks\n"
        ".type fiber__swap_stacks, @function\n"
        "fiber__swap_stacks:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    subq $8, %rsp\n"
        "    stmxcsr (%rsp)\n"
        "    fnstcw 4(%rsp)\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    ldmxcsr (%rsp)\n"
        "    fldcw 4(%rsp)\n"
        "    addq $8, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size fiber__swap_stacks, . - fiber__swap_stacks\n");

enum { ENTRY_WORD = 7, FRAME_WORDS = 9 };

static void fill_first_frame(uint64_t *frame, void (*entry)(void))
{
    uint32_t mxcsr = __builtin_ia32_stmxcsr();
    uint16_t fpu;
    __asm__ volatile("fnstcw %0" : "=m"(fpu));
    frame[0] = mxcsr | (uint64_t)fpu << 32;
    frame[ENTRY_WORD] = (uint64_t)(uintptr_t)entry;
    /* frame[8] stays 0: the return address of entry, where a debugger's backtrace ends. With it the
     * stack pointer is 8 past a multiple of 16 when entry begins, as after any call. */
}
#elif defined(__aarch64__)
__asm__(".text\n"
        ".p2align 4\n"
        ".globl fiber__swap_stacks\n"
        ".hidden fiber__swap_stacks\n"
        ".type fiber__swap_stacks, %function\n"
        "fiber__swap_stacks:\n"
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp, #0]\n"
        "    stp x21, x22, [sp, #16]\n"
        "    stp x23, x24, [sp, #32]\n"
        "    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n"
        "    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n"
        "    str x9, [x0]\n"
        "    mov sp, x1\n"
        "    ldp x19, x20, [sp, #0]\n"
        "    ldp x21, x22, [sp, #16]\n"
        "    ldp x23, x24, [sp, #32]\n"
        "    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n"
        "    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n"
        "    ret\n"
        ".size fiber__swap_stacks, . - fiber__swap_stacks\n");

enum { ENTRY_WORD = 11, FRAME_WORDS = 20 };

static void fill_first_frame(uint64_t *frame, void (*entry)(void))
{
    frame[ENTRY_WORD] = (uint64_t)(uintptr_t)entry; /* x30; x29 = 0 ends a backtrace */
}
#endif

static void start_raw(struct fiber_context *c, void (*entry)(void))
{
    uint64_t *top = (uint64_t *)(void *)((char *)c->stack + c->stack_bytes);
    uint64_t *frame = top - FRAME_WORDS;
    memset(frame, 0, FRAME_WORDS * sizeof *frame);
    fill_first_frame(frame, entry);
    c->sp = frame;
}

static void swap_raw(struct fiber_context *from, struct fiber_context *to)
{
    fiber__swap_stacks(&from->sp, to->sp);
}

#else

static void start_raw(struct fiber_context *c, void (*entry)(void))
{
    int rc = getcontext(&c->ucontext);
    ASSERT(rc == 0);
    c->ucontext.uc_stack.ss_sp = c->stack;
    c->ucontext.uc_stack.ss_size = c->stack_bytes;
    c->ucontext.uc_link = NULL;
    makecontext(&c->ucontext, entry, 0);
}

static void swap_raw(struct fiber_context *from, struct fiber_context *to)
{
    int rc = swapcontext(&from->ucontext, &to->ucontext);
    ASSERT(rc == 0);
}

#endif

enum status fiber__context_map(struct fiber_context *c, size_t stack_bytes, struct err *err)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t guard = (GUARD_BYTES + page - 1) / page * page;
    size_t usable = (stack_bytes + page - 1) / page * page;
    void *map =
        mmap(NULL, guard + usable, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (map == MAP_FAILED)
        return err_set(err, ST_NO_MEMORY, "fiber: no memory for a stack of %zu bytes", usable);
    void *stack = (char *)map + guard;
    if (mprotect(stack, usable, PROT_READ | PROT_WRITE) != 0) {
        munmap(map, guard + usable);
        return err_set(err, ST_NO_MEMORY,
                       "fiber: a stack of %zu bytes is refused (vm.max_map_count or memory)",
                       usable);
    }
    *c = (struct fiber_context){.stack = stack, .stack_bytes = usable};
#ifdef VALGRIND_STACK_REGISTER
    c->valgrind_id = VALGRIND_STACK_REGISTER(stack, (char *)stack + usable);
#endif
    return ST_OK;
}

void fiber__context_unmap(struct fiber_context *c)
{
#ifdef ON_ASAN
    /* One that never ended (fiber_sched_abandon) has its red zones there still, for whatever is mapped
     * at that place next. */
    __asan_unpoison_memory_region(c->stack, c->stack_bytes);
#endif
#ifdef VALGRIND_STACK_DEREGISTER
    VALGRIND_STACK_DEREGISTER(c->valgrind_id);
#endif
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t guard = (GUARD_BYTES + page - 1) / page * page;
    int rc = munmap((char *)c->stack - guard, guard + c->stack_bytes);
    ASSERT(rc == 0);
    c->stack = NULL;
}

void fiber__context_start(struct fiber_context *c, void (*entry)(void))
{
    start_raw(c, entry);
    c->tool = NULL;
#ifdef ON_TSAN
    c->tool = __tsan_create_fiber(0);
#endif
}

void fiber__context_adopt(struct fiber_context *c)
{
    c->tool = NULL;
#ifdef ON_TSAN
    c->tool = __tsan_get_current_fiber();
#endif
}

void fiber__context_switch(struct fiber_context *from, struct fiber_context *to)
{
#ifdef ON_ASAN
    __sanitizer_start_switch_fiber(&from->tool, to->stack, to->stack_bytes);
#endif
#ifdef ON_TSAN
    __tsan_switch_to_fiber(to->tool, 0);
#endif
    swap_raw(from, to);
#ifdef ON_ASAN
    __sanitizer_finish_switch_fiber(from->tool, NULL, NULL);
#endif
}

void fiber__context_arrived(struct fiber_context *from)
{
#ifdef ON_ASAN
    /* The one way to learn the bounds of the thread's own stack, which the switch back must name.
     */
    const void *bottom;
    __sanitizer_finish_switch_fiber(NULL, &bottom, &from->stack_bytes);
    from->stack = (void *)(uintptr_t)bottom;
#else
    (void)from;
#endif
}

void fiber__context_exit(struct fiber_context *from, struct fiber_context *to)
{
#ifdef ON_ASAN
    __sanitizer_start_switch_fiber(NULL, to->stack,
                                   to->stack_bytes); /* NULL: ends the fake stack */
#endif
#ifdef ON_TSAN
    __tsan_switch_to_fiber(to->tool, 0);
#endif
    swap_raw(from, to);
    assert_failed("an ended fiber is never resumed", __FILE__, __LINE__);
}

void fiber__context_ended(struct fiber_context *c)
{
#ifdef ON_ASAN
    /* Its last frames never returned, so their red zones are still there for the next fiber on this
     * stack. */
    __asan_unpoison_memory_region(c->stack, c->stack_bytes);
#endif
#ifdef ON_TSAN
    __tsan_destroy_fiber(c->tool);
#endif
    c->tool = NULL;
}
