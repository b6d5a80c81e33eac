// Cuts UTF-8 text into the pieces that o200k_base's pattern matches. Knows no vocabulary.
//
//   1  [^\r\n\p{L}\p{N}]? [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]* [\p{Ll}\p{Lm}\p{Lo}\p{M}]+ short?
//   2  [^\r\n\p{L}\p{N}]? [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+ [\p{Ll}\p{Lm}\p{Lo}\p{M}]* short?
//   3  \p{N}{1,3}
//   4  " "? [^\s\p{L}\p{N}]+ [\r\n/]*
//   5  \s*[\r\n]+      6  \s+(?!\S)      7  \s+
//   short = (?i:'s|'t|'re|'ve|'m|'ll|'d)
//
// The first alternative that matches wins, with a regular expression's backtracking. Each function
// takes one alternative apart so that a piece is found in one pass over it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ingle::tokenizer {

// One class per code point; the vocabulary file holds the table. Letters of both cases' classes
// (Lm, Lo) are kBoth; \r and \n are kNewline, the rest of \s is kSpace.
enum CharClass : uint8_t { kOther, kUpper, kLower, kBoth, kMark, kNumber, kSpace, kNewline };
inline constexpr size_t kCodePoints = 0x110000;

class O200kSplit {
public:
    // text: n bytes of UTF-8; a malformed byte counts as one character of class kOther.
    // classes: kCodePoints bytes. Both must outlive this.
    O200kSplit(const uint8_t* text, size_t n, const uint8_t* classes)
        : text_(text), size_(n), classes_(classes) {}

    // End of the piece that starts at `start` < n; always past `start`.
    size_t piece_end(size_t start) const {
        const Char c = at(start);
        switch (c.cls) {
            case kUpper: case kLower: case kBoth: return word_end(start, start);
            case kNumber: return number_end(start);
            case kNewline: return spaces_end(start);
            default: break;
        }
        if (const size_t end = word_end(start, c.end)) return end;
        if (c.cls != kSpace) return symbols_end(start);
        if (text_[start] == ' ' && is_symbol(at(c.end).cls)) return symbols_end(c.end);
        return spaces_end(start);
    }

private:
    struct Char {
        uint8_t cls;
        size_t end;
    };

    static bool is_upper(uint8_t c) { return c == kUpper || c == kBoth || c == kMark; }
    static bool is_lower(uint8_t c) { return c == kLower || c == kBoth || c == kMark; }
    static bool is_symbol(uint8_t c) { return c == kOther || c == kMark; }
    static bool is_space(uint8_t c) { return c == kSpace || c == kNewline; }

    // Character at i; past the end one of a class that no run accepts.
    Char at(size_t i) const {
        if (i >= size_) return {0xFF, i};
        const uint8_t lead = text_[i];
        if (lead < 0x80) return {classes_[lead], i + 1};
        const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
        if (lead < 0xC2 || lead > 0xF4 || size_ - i < length) return {kOther, i + 1};
        uint32_t code = lead & (0x7Fu >> length);
        for (size_t k = 1; k < length; ++k) {
            if ((text_[i + k] & 0xC0) != 0x80) return {kOther, i + 1};
            code = code << 6 | (text_[i + k] & 0x3F);
        }
        return {code < kCodePoints ? classes_[code] : uint8_t(kOther), i + length};
    }

    // Alternatives 1 and 2, the letters starting at `letters` after an optional other character at
    // `start`; 0 if neither matches.
    size_t word_end(size_t start, size_t letters) const {
        size_t end = cased_end(letters);
        if (!end && letters != start) end = at(start).cls == kMark ? cased_end(start) : 0;
        if (!end) end = uppers_end(letters);
        return end ? short_end(end) : 0;
    }

    // [uppers]*[lowers]+ from i, 0 if it does not match. Where no lower follows the uppers, the
    // last of them that is lower too (Lm, Lo, M) has to be given back.
    size_t cased_end(size_t i) const {
        size_t last_lower_end = 0;
        Char c = at(i);
        for (; is_upper(c.cls); c = at(i)) {
            i = c.end;
            if (c.cls != kUpper) last_lower_end = i;
        }
        if (!is_lower(c.cls)) return last_lower_end;
        for (; is_lower(c.cls); c = at(i)) i = c.end;
        return i;
    }

    // [uppers]+ where cased_end found nothing, so that [lowers]* is empty.
    size_t uppers_end(size_t i) const {
        const size_t start = i;
        for (Char c = at(i); is_upper(c.cls); c = at(i)) i = c.end;
        return i > start ? i : 0;
    }

    // i, or the end of the contraction there. U+017F folds to s.
    size_t short_end(size_t i) const {
        if (size_ - i < 2 || text_[i] != '\'') return i;
        const uint8_t a = text_[i + 1] | 0x20;
        if (a == 's' || a == 't' || a == 'm' || a == 'd') return i + 2;
        if (size_ - i < 3) return i;
        if (text_[i + 1] == 0xC5 && text_[i + 2] == 0xBF) return i + 3;
        const uint8_t b = text_[i + 2] | 0x20;
        const bool pair = ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l');
        return pair ? i + 3 : i;
    }

    size_t number_end(size_t i) const {
        for (int k = 0; k < 3; ++k) {
            const Char c = at(i);
            if (c.cls != kNumber) break;
            i = c.end;
        }
        return i;
    }

    size_t symbols_end(size_t i) const {
        for (Char c = at(i); is_symbol(c.cls); c = at(i)) i = c.end;
        while (i < size_ && (text_[i] == '\r' || text_[i] == '\n' || text_[i] == '/')) ++i;
        return i;
    }

    // Alternatives 5 to 7: up to the last newline of the run; else all of it at the end of the
    // text; else all but its last character, which the next word takes along; else that one.
    size_t spaces_end(size_t start) const {
        size_t i = start, last = start, newline_end = 0;
        for (Char c = at(i); is_space(c.cls); c = at(i)) {
            last = i;
            i = c.end;
            if (c.cls == kNewline) newline_end = i;
        }
        if (newline_end) return newline_end;
        return i == size_ || last == start ? i : last;
    }

    const uint8_t* text_;
    size_t size_;
    const uint8_t* classes_;
};

}  // namespace ingle::tokenizer
