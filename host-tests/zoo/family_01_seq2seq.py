"""Recurrent translation as the tutorials write it: PyTorch's own (present and older), the chatbot, and a bidirectional encoder."""

import torch
import torch.nn.functional as F
from inputs import System, lengths_mask, real, state, tokens
from torch import nn

H, WORDS, S = 32, 40, 10  # hidden size, vocabulary, longest source


class EncoderRNN(nn.Module):
    """pytorch.org/tutorials, "Translation with a sequence to sequence network and attention"."""

    def __init__(self, input_size, hidden_size, dropout_p=0.1):
        super().__init__()
        self.hidden_size = hidden_size
        self.embedding = nn.Embedding(input_size, hidden_size)
        self.gru = nn.GRU(hidden_size, hidden_size, batch_first=True)
        self.dropout = nn.Dropout(dropout_p)

    def forward(self, input):
        embedded = self.dropout(self.embedding(input))
        output, hidden = self.gru(embedded)
        return output, hidden


class BahdanauAttention(nn.Module):
    def __init__(self, hidden_size):
        super().__init__()
        self.Wa = nn.Linear(hidden_size, hidden_size)
        self.Ua = nn.Linear(hidden_size, hidden_size)
        self.Va = nn.Linear(hidden_size, 1)

    def forward(self, query, keys):
        scores = self.Va(torch.tanh(self.Wa(query) + self.Ua(keys)))
        scores = scores.squeeze(2).unsqueeze(1)
        weights = F.softmax(scores, dim=-1)
        context = torch.bmm(weights, keys)
        return context, weights


class AttnDecoderRNN(nn.Module):
    """Its `forward_step`."""

    def __init__(self, hidden_size, output_size, dropout_p=0.1):
        super().__init__()
        self.embedding = nn.Embedding(output_size, hidden_size)
        self.attention = BahdanauAttention(hidden_size)
        self.gru = nn.GRU(2 * hidden_size, hidden_size, batch_first=True)
        self.out = nn.Linear(hidden_size, output_size)
        self.dropout = nn.Dropout(dropout_p)

    def forward(self, input, hidden, encoder_outputs):
        embedded = self.dropout(self.embedding(input))
        query = hidden.permute(1, 0, 2)
        context, attn_weights = self.attention(query, encoder_outputs)
        input_gru = torch.cat((embedded, context), dim=2)
        output, hidden = self.gru(input_gru, hidden)
        output = self.out(output)
        return output, hidden, attn_weights


class Unrolled(nn.Module):
    """The tutorial's whole `forward`, with three steps of teacher forcing, log-softmax at the end."""

    def __init__(self):
        super().__init__()
        self.encoder = EncoderRNN(WORDS, H)
        self.decoder = AttnDecoderRNN(H, WORDS)

    def forward(self, input, target):
        encoder_outputs, decoder_hidden = self.encoder(input)
        decoder_outputs = []
        for i in range(3):
            decoder_output, decoder_hidden, _ = self.decoder(target[:, i].unsqueeze(1), decoder_hidden, encoder_outputs)
            decoder_outputs.append(decoder_output)
        return F.log_softmax(torch.cat(decoder_outputs, dim=1), dim=-1)


class DecoderRNN(nn.Module):
    """The tutorial's decoder without attention, as it was: embedding, relu, GRU, log-softmax."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, H)
        self.gru = nn.GRU(H, H)
        self.out = nn.Linear(H, WORDS)

    def forward(self, input, hidden):
        output = self.embedding(input).view(1, 1, -1)
        output = F.relu(output)
        output, hidden = self.gru(output, hidden)
        return F.log_softmax(self.out(output[0]), dim=1), hidden


class OldAttnDecoderRNN(nn.Module):
    """The tutorial until 2023: weights are a Linear of token and state over the longest length; no batch axis."""

    def __init__(self, hidden_size, output_size, dropout_p=0.1, max_length=S):
        super().__init__()
        self.embedding = nn.Embedding(output_size, hidden_size)
        self.attn = nn.Linear(hidden_size * 2, max_length)
        self.attn_combine = nn.Linear(hidden_size * 2, hidden_size)
        self.dropout = nn.Dropout(dropout_p)
        self.gru = nn.GRU(hidden_size, hidden_size)
        self.out = nn.Linear(hidden_size, output_size)

    def forward(self, input, hidden, encoder_outputs):
        embedded = self.embedding(input).view(1, 1, -1)
        embedded = self.dropout(embedded)
        attn_weights = F.softmax(self.attn(torch.cat((embedded[0], hidden[0]), 1)), dim=1)
        attn_applied = torch.bmm(attn_weights.unsqueeze(0), encoder_outputs.unsqueeze(0))
        output = torch.cat((embedded[0], attn_applied[0]), 1)
        output = self.attn_combine(output).unsqueeze(0)
        output = F.relu(output)
        output, hidden = self.gru(output, hidden)
        output = F.log_softmax(self.out(output[0]), dim=1)
        return output, hidden, attn_weights


class ChatbotEncoder(nn.Module):
    """pytorch.org/tutorials, "Chatbot": bidirectional, two layers, time first, directions summed. Without packing."""

    def __init__(self, hidden_size=H, n_layers=2):
        super().__init__()
        self.hidden_size = hidden_size
        self.embedding = nn.Embedding(WORDS, hidden_size)
        self.gru = nn.GRU(hidden_size, hidden_size, n_layers, bidirectional=True)

    def forward(self, input_seq):
        embedded = self.embedding(input_seq)
        outputs, hidden = self.gru(embedded)
        outputs = outputs[:, :, : self.hidden_size] + outputs[:, :, self.hidden_size :]
        return outputs, hidden


class LuongAttn(nn.Module):
    def __init__(self, method, hidden_size):
        super().__init__()
        self.method = method
        self.hidden_size = hidden_size
        if self.method == "general":
            self.attn = nn.Linear(self.hidden_size, hidden_size)
        elif self.method == "concat":
            self.attn = nn.Linear(self.hidden_size * 2, hidden_size)
            self.v = nn.Parameter(torch.randn(hidden_size))

    def dot_score(self, hidden, encoder_output):
        return torch.sum(hidden * encoder_output, dim=2)

    def general_score(self, hidden, encoder_output):
        energy = self.attn(encoder_output)
        return torch.sum(hidden * energy, dim=2)

    def concat_score(self, hidden, encoder_output):
        energy = self.attn(torch.cat((hidden.expand(encoder_output.size(0), -1, -1), encoder_output), 2)).tanh()
        return torch.sum(self.v * energy, dim=2)

    def forward(self, hidden, encoder_outputs):
        attn_energies = getattr(self, f"{self.method}_score")(hidden, encoder_outputs)
        attn_energies = attn_energies.t()
        return F.softmax(attn_energies, dim=1).unsqueeze(1)


class LuongAttnDecoderRNN(nn.Module):
    def __init__(self, attn_model, hidden_size=H, output_size=WORDS, n_layers=2):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, hidden_size)
        self.gru = nn.GRU(hidden_size, hidden_size, n_layers)
        self.concat = nn.Linear(hidden_size * 2, hidden_size)
        self.out = nn.Linear(hidden_size, output_size)
        self.attn = LuongAttn(attn_model, hidden_size)

    def forward(self, input_step, last_hidden, encoder_outputs):
        embedded = self.embedding(input_step)
        rnn_output, hidden = self.gru(embedded, last_hidden)
        attn_weights = self.attn(rnn_output, encoder_outputs)
        context = attn_weights.bmm(encoder_outputs.transpose(0, 1))
        rnn_output = rnn_output.squeeze(0)
        context = context.squeeze(1)
        concat_input = torch.cat((rnn_output, context), 1)
        concat_output = torch.tanh(self.concat(concat_input))
        output = self.out(concat_output)
        output = F.softmax(output, dim=1)
        return output, hidden


class BidirectionalEncoder(nn.Module):
    """bentrevett/pytorch-seq2seq, 3: the last states of both directions through a Linear and tanh."""

    def __init__(self, emb_dim=24, enc_hid_dim=H, dec_hid_dim=H):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, emb_dim)
        self.rnn = nn.GRU(emb_dim, enc_hid_dim, bidirectional=True)
        self.fc = nn.Linear(enc_hid_dim * 2, dec_hid_dim)

    def forward(self, src):
        embedded = self.embedding(src)
        outputs, hidden = self.rnn(embedded)
        hidden = torch.tanh(self.fc(torch.cat((hidden[-2, :, :], hidden[-1, :, :]), dim=1)))
        return outputs, hidden


class AdditiveAttention(nn.Module):
    def __init__(self, enc_hid_dim=H, dec_hid_dim=H):
        super().__init__()
        self.attn = nn.Linear((enc_hid_dim * 2) + dec_hid_dim, dec_hid_dim)
        self.v = nn.Linear(dec_hid_dim, 1, bias=False)

    def forward(self, hidden, encoder_outputs, mask=None):
        src_len = encoder_outputs.shape[0]
        hidden = hidden.unsqueeze(1).repeat(1, src_len, 1)
        encoder_outputs = encoder_outputs.permute(1, 0, 2)
        energy = torch.tanh(self.attn(torch.cat((hidden, encoder_outputs), dim=2)))
        attention = self.v(energy).squeeze(2)
        if mask is not None:
            attention = attention.masked_fill(mask == 0, -1e10)
        return F.softmax(attention, dim=1)


class BidirectionalDecoder(nn.Module):
    """One step; returns prediction, state and weights. With a mask (tutorial 4) or without (3)."""

    def __init__(self, masked=False, emb_dim=24, enc_hid_dim=H, dec_hid_dim=H):
        super().__init__()
        self.masked = masked
        self.attention = AdditiveAttention()
        self.embedding = nn.Embedding(WORDS, emb_dim)
        self.rnn = nn.GRU((enc_hid_dim * 2) + emb_dim, dec_hid_dim)
        self.fc_out = nn.Linear((enc_hid_dim * 2) + dec_hid_dim + emb_dim, WORDS)

    def forward(self, input, hidden, encoder_outputs, mask=None):
        input = input.unsqueeze(0)
        embedded = self.embedding(input)
        a = self.attention(hidden, encoder_outputs, mask).unsqueeze(1)
        encoder_outputs = encoder_outputs.permute(1, 0, 2)
        weighted = torch.bmm(a, encoder_outputs)
        weighted = weighted.permute(1, 0, 2)
        rnn_input = torch.cat((embedded, weighted), dim=2)
        output, hidden = self.rnn(rnn_input, hidden.unsqueeze(0))
        embedded = embedded.squeeze(0)
        output = output.squeeze(0)
        weighted = weighted.squeeze(0)
        prediction = self.fc_out(torch.cat((output, weighted, embedded), dim=1))
        return prediction, hidden.squeeze(0), a.squeeze(1)


class LstmDecoderStep(nn.Module):
    """bentrevett 1: two LSTM layers, hidden and cell in and out."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 24)
        self.rnn = nn.LSTM(24, H, 2)
        self.fc_out = nn.Linear(H, WORDS)

    def forward(self, input, hidden, cell):
        embedded = self.embedding(input.unsqueeze(0))
        output, (hidden, cell) = self.rnn(embedded, (hidden, cell))
        return self.fc_out(output.squeeze(0)), hidden, cell


class PointerStep(nn.Module):
    """Pointer network (Vinyals et al., 2015): an LSTMCell whose state points at a row of the encoder; log-probabilities."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(H, H)
        self.W1, self.W2 = nn.Linear(H, H, bias=False), nn.Linear(H, H, bias=False)
        self.vt = nn.Linear(H, 1, bias=False)

    def forward(self, x, h, c, encoder_outputs):
        h, c = self.cell(x, (h, c))
        u = self.vt(torch.tanh(self.W1(encoder_outputs) + self.W2(h).unsqueeze(1))).squeeze(-1)
        return F.log_softmax(u, dim=-1), h, c


class CaptionStep(nn.Module):
    """Show, attend and tell (sgrvinod's tutorial): pixels as keys, a gate on the context, LSTMCell; the first state is a Linear of the
    mean pixel, so it is not bounded."""

    def __init__(self, pixels=16):
        super().__init__()
        self.encoder_att, self.decoder_att, self.full_att = nn.Linear(H, H), nn.Linear(H, H), nn.Linear(H, 1)
        self.relu, self.softmax, self.sigmoid = nn.ReLU(), nn.Softmax(dim=1), nn.Sigmoid()
        self.embedding = nn.Embedding(WORDS, 24)
        self.init_h, self.init_c, self.f_beta = nn.Linear(H, H), nn.Linear(H, H), nn.Linear(H, H)
        self.decode_step = nn.LSTMCell(24 + H, H)
        self.fc = nn.Linear(H, WORDS)

    def attention(self, encoder_out, decoder_hidden):
        att1 = self.encoder_att(encoder_out)
        att2 = self.decoder_att(decoder_hidden)
        att = self.full_att(self.relu(att1 + att2.unsqueeze(1))).squeeze(2)
        alpha = self.softmax(att)
        return (encoder_out * alpha.unsqueeze(2)).sum(dim=1), alpha

    def forward(self, encoder_out, token, h, c):
        awe, alpha = self.attention(encoder_out, h)
        awe = self.sigmoid(self.f_beta(h)) * awe
        h, c = self.decode_step(torch.cat([self.embedding(token), awe], dim=1), (h, c))
        return self.fc(h), h, c, alpha


class CaptionStart(CaptionStep):
    def forward(self, image, token):
        encoder_out = image.permute(0, 2, 3, 1).flatten(1, 2)
        mean_encoder_out = encoder_out.mean(dim=1)
        return super().forward(encoder_out, token, self.init_h(mean_encoder_out), self.init_c(mean_encoder_out))


class LanguageModelStep(nn.Module):
    """pytorch/examples word_language_model: two layers, tied weights, state in and out, time first."""

    def __init__(self, kind):
        super().__init__()
        self.encoder = nn.Embedding(WORDS, H)
        self.rnn = getattr(nn, kind)(H, H, 2)
        self.decoder = nn.Linear(H, WORDS)
        self.decoder.weight = self.encoder.weight

    def forward(self, input, hidden, cell=None):
        emb = self.encoder(input)
        output, state = self.rnn(emb, hidden if cell is None else (hidden, cell))
        decoded = self.decoder(output).view(-1, WORDS)
        return F.log_softmax(decoded, dim=1), state


hidden = lambda layers: state(layers, 1, H, batch=1)
cell = lambda layers: real(layers, 1, H, batch=1)
memory_first = lambda: state(1, S, H)
SYSTEMS = {
    "tutorial_encoder": System(lambda: EncoderRNN(WORDS, H), {"input": tokens(WORDS, 1, S)}),
    "tutorial_decoder": System(lambda: AttnDecoderRNN(H, WORDS), {
        "input": tokens(WORDS, 1, 1), "hidden": hidden(1), "encoder_outputs": memory_first()}),
    "tutorial_unrolled": System(Unrolled, {"input": tokens(WORDS, 1, S), "target": tokens(WORDS, 1, 3)}),
    "tutorial_plain_decoder": System(DecoderRNN, {"input": tokens(WORDS, 1, 1, batch=None),
                                                  "hidden": state(1, 1, H, batch=None)}),
    "tutorial_old_decoder": System(lambda: OldAttnDecoderRNN(H, WORDS), {
        "input": tokens(WORDS, 1, 1, batch=None), "hidden": state(1, 1, H, batch=None),
        "encoder_outputs": state(S, H, batch=None)}),
    "chatbot_encoder": System(ChatbotEncoder, {"input_seq": tokens(WORDS, S, 1, batch=1)}),
    **{f"chatbot_{method}": System(lambda method=method: LuongAttnDecoderRNN(method), {
        "input_step": tokens(WORDS, 1, 1, batch=1), "last_hidden": hidden(2),
        "encoder_outputs": state(S, 1, H, batch=1)}) for method in ("dot", "general", "concat")},
    "bentrevett_encoder": System(BidirectionalEncoder, {"src": tokens(WORDS, S, 1, batch=1)}),
    "bentrevett_decoder": System(BidirectionalDecoder, {
        "input": tokens(WORDS, 1), "hidden": state(1, H), "encoder_outputs": state(S, 1, 2 * H, batch=1)}),
    "bentrevett_masked": System(lambda: BidirectionalDecoder(True), {
        "input": tokens(WORDS, 1), "hidden": state(1, H), "encoder_outputs": state(S, 1, 2 * H, batch=1),
        "mask": lengths_mask(1, S)}),
    "bentrevett_lstm_step": System(LstmDecoderStep, {"input": tokens(WORDS, 1), "hidden": hidden(2), "cell": cell(2)}),
    "pointer_step": System(PointerStep, {"x": real(1, H), "h": state(1, H), "c": real(1, H),
                                         "encoder_outputs": memory_first()}),
    "caption_step": System(CaptionStep, {
        "encoder_out": real(1, 16, H), "token": tokens(WORDS, 1), "h": state(1, H), "c": real(1, H)}),
    "caption_step_wide": System(CaptionStep, {
        "encoder_out": real(1, 16, H), "token": tokens(WORDS, 1), "h": real(1, H, scale=2), "c": real(1, H)}),
    "caption_start": System(CaptionStart, {"image": real(1, H, 4, 4), "token": tokens(WORDS, 1)}),
    "decoder_wide_state": System(lambda: AttnDecoderRNN(H, WORDS), {
        "input": tokens(WORDS, 1, 1), "hidden": real(1, 1, H, batch=1, scale=2), "encoder_outputs": memory_first()}),
    "language_model_lstm": System(lambda: LanguageModelStep("LSTM"), {
        "input": tokens(WORDS, 5, 1, batch=1), "hidden": hidden(2), "cell": cell(2)}),
    "language_model_gru": System(lambda: LanguageModelStep("GRU"), {"input": tokens(WORDS, 5, 1, batch=1), "hidden": hidden(2)}),
}
