/* list.h - intrusive doubly linked list; a head is a node that links to itself when empty.
 *
 * Owns:     nothing. Promises: O(1) everything. Never: allocates. Threads: one owner.
 */
#ifndef VARVE_BASE_LIST_H
#define VARVE_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev, *next;
};

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define list_foreach(it, head)          for (struct list *it = (head)->next; it != (head); it = it->next)
#define list_foreach_safe(it, head)                                                                \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                      \
         it = it##_next, it##_next = it->next)

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}
static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}
static inline void list_insert_before(struct list *pos, struct list *n)
{
    n->prev = pos->prev;
    n->next = pos;
    pos->prev->next = n;
    pos->prev = n;
}
static inline void list_push_back(struct list *head, struct list *n)
{
    list_insert_before(head, n);
}
static inline void list_push_front(struct list *head, struct list *n)
{
    list_insert_before(head->next, n);
}
static inline void list_remove(struct list *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->prev = n->next = n;
}
/* All of `from` goes behind all of `to`, in order. */
static inline void list_move_all(struct list *from, struct list *to)
{
    while (!list_empty(from)) {
        struct list *n = from->next;
        list_remove(n);
        list_push_back(to, n);
    }
}

#endif
