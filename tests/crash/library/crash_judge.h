/* crash_judge.h - what can become of a folder in which one bit was turned. */
#ifndef VARVE_TESTS_CRASH_JUDGE_H
#define VARVE_TESTS_CRASH_JUDGE_H

enum judge {
    JUDGE_HARMLESS = 10,  /* nothing noticed, every answer right, verify clean */
    JUDGE_OPEN,           /* the open says so and names the file */
    JUDGE_OPEN_UNNAMED,   /* the open says so */
    JUDGE_VERIFY,         /* verify finds it and names the file; answers are right or refusals */
    JUDGE_VERIFY_UNNAMED, /* verify finds it */
    JUDGE_READS_ONLY,     /* reads refuse, verify does not find it */
    JUDGE_WRONG,          /* a wrong answer */
    JUDGE_END,
};

#endif
