/* test_assert.c - a broken invariant aborts with its text and place; one that holds costs nothing
 * visible. */
#include "base/assert.h"
#include "support/cmocka.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void a_broken_invariant_aborts_and_says_where(void **state)
{
    (void)state;
    int ends[2];
    char text[512] = {0};
    int broken = 1;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (dup2(ends[1], STDERR_FILENO) < 0)
            _exit(1);
        ASSERT(broken == 2);
        _exit(0);
    }
    close(ends[1]);
    size_t len = 0;
    ssize_t n;
    while ((n = read(ends[0], text + len, sizeof text - 1 - len)) > 0)
        len += (size_t)n;
    close(ends[0]);
    int how = 0;
    assert_true(waitpid(pid, &how, 0) == pid);
    assert_true(WIFSIGNALED(how));
    assert_int_equal(WTERMSIG(how), SIGABRT);
    assert_non_null(strstr(text, "assertion failed: broken == 2 ("));
    assert_non_null(strstr(text, "test_assert.c:"));
}

static void a_holding_invariant_goes_on(void **state)
{
    (void)state;
    int evaluated = 0;
    ASSERT(++evaluated == 1);
    DASSERT(1);
    assert_int_equal(evaluated, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broken_invariant_aborts_and_says_where),
        cmocka_unit_test(a_holding_invariant_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
