# Exit code 0 when the second file matches the first, line by line: "..." any number of lines,
# "~ REGEX" one line, anything else itself. reach[j] tells whether the patterns so far can end at
# line j of the text.
# The name tells the files apart; FNR would not when the first is empty.
FILENAME == ARGV[1] { pattern[++patterns] = $0; next }
{ line[++lines] = $0 }
END {
    reach[0] = 1
    for (i = 1; i <= patterns; i++) {
        for (j = 0; j <= lines; j++) before[j] = reach[j]
        any = pattern[i] == "..."
        for (j = 0; j <= lines; j++) {
            if (any) reach[j] = before[j] || (j > 0 && reach[j - 1])
            else reach[j] = j > 0 && before[j - 1] && fits(pattern[i], line[j])
        }
    }
    exit !reach[lines + 0]
}
function fits(want, text) {
    if (substr(want, 1, 2) == "~ ") return text ~ ("^(" substr(want, 3) ")$")
    return want == text
}
