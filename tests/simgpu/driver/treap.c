/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * Treap: a search tree by address and a heap by random weights, which keep it shallow.
 */
#include "treap.h"

#include <stddef.h>

/* The address, well mixed, serves as the random number: no state, and it never repeats. */
static uint32_t mix(uintptr_t base)
{
	uint64_t x = base;

	x = (x ^ (x >> 31)) * 0x7fb5d329728ea185u;
	x = (x ^ (x >> 27)) * 0x81dadef4bc2dd44du;
	return (uint32_t)(x >> 32);
}

static void refresh(struct treap *node)
{
	node->max_size = node->size;
	if (node->left && node->left->max_size > node->max_size)
		node->max_size = node->left->max_size;
	if (node->right && node->right->max_size > node->max_size)
		node->max_size = node->right->max_size;
}

static void split(struct treap *root, uintptr_t base, struct treap **left, struct treap **right)
{
	if (!root) {
		*left = *right = NULL;
		return;
	}
	if (root->base < base) {
		split(root->right, base, &root->right, right);
		*left = root;
	} else {
		split(root->left, base, left, &root->left);
		*right = root;
	}
	refresh(root);
}

static struct treap *merge(struct treap *left, struct treap *right)
{
	if (!left || !right)
		return left ? left : right;
	if (left->weight > right->weight) {
		left->right = merge(left->right, right);
		refresh(left);
		return left;
	}
	right->left = merge(left, right->left);
	refresh(right);
	return right;
}

void treap_insert(struct treap **root, struct treap *node)
{
	struct treap *left, *right;

	node->weight = mix(node->base);
	node->left = node->right = NULL;
	refresh(node);
	split(*root, node->base, &left, &right);
	*root = merge(merge(left, node), right);
}

struct treap *treap_remove(struct treap **root, uintptr_t base)
{
	struct treap *left, *node, *right;

	split(*root, base, &left, &right);
	split(right, base + 1, &node, &right);
	*root = merge(left, right);
	return node;
}

struct treap *treap_find(struct treap *root, uintptr_t address)
{
	while (root) {
		if (address < root->base)
			root = root->left;
		else if (address - root->base >= root->size)
			root = root->right;
		else
			return root;
	}
	return NULL;
}

struct treap *treap_next(struct treap *root, uintptr_t address)
{
	struct treap *found = NULL;

	while (root) {
		if (root->base >= address)
			found = root;
		root = root->base >= address ? root->left : root->right;
	}
	return found;
}

struct treap *treap_first_fit(struct treap *root, uint64_t size)
{
	if (!root || root->max_size < size)
		return NULL;
	for (;;) {
		if (root->left && root->left->max_size >= size)
			root = root->left;
		else if (root->size >= size)
			return root;
		else
			root = root->right;
	}
}
